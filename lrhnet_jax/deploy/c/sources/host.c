/* The check on this computer: ./check compares the examples. ./check FILE, of windows one after another (the signal, then
 * the age/sex vector, int16 of this computer's byte order), writes their logits to standard output. */
#include "check.h"
#include "model.h"

#include <stdio.h>

void put(const char *text) { fputs(text, stdout); }

static int answer_all(const char *path)
{
    FILE *file = fopen(path, "rb");
    int16_t demographics[5], logits[MODEL_CLASSES];
    if (!file) {
        fprintf(stderr, "%s: cannot be read\n", path);
        return 1;
    }
    while (fread(model_input(), sizeof(int16_t), (size_t)MODEL_WINDOW * MODEL_LEADS, file) ==
               (size_t)MODEL_WINDOW * MODEL_LEADS &&
           fread(demographics, sizeof(int16_t), 5, file) == 5) {
        if (model_run(model_input(), MODEL_WINDOW, demographics, logits) != MODEL_OK)
            return 1;
        fwrite(logits, sizeof(int16_t), MODEL_CLASSES, stdout);
    }
    fclose(file);
    return 0;
}

int main(int count, char **arguments)
{
    if (count > 1)
        return answer_all(arguments[1]);
    return check_examples() != 0;
}
