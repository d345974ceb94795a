/* The check on this computer.
 *
 *     ./check                      compares the examples
 *     ./check windows FILE         answers windows: the signal, then the age/sex vector, int16, one window after another
 *     ./check stream RATE FILE     answers a recording: int32 samples of all leads, one time after another, through
 *                                  ecg_stream, of a person of whom nothing is known
 *
 * Numbers are in this computer's byte order. Logits, int16, go to standard output. */
#include "check.h"
#include "ecg_stream.h"
#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void put(const char *text) { fputs(text, stdout); }

static int answer_windows(FILE *file)
{
    int16_t demographics[5], logits[MODEL_CLASSES];
    const size_t values = (size_t)MODEL_WINDOW * MODEL_LEADS;
    while (fread(model_input(), sizeof(int16_t), values, file) == values &&
           fread(demographics, sizeof(int16_t), 5, file) == 5) {
        if (model_run(model_input(), MODEL_WINDOW, demographics, logits) != MODEL_OK)
            return 1;
        fwrite(logits, sizeof(int16_t), MODEL_CLASSES, stdout);
    }
    return 0;
}

static int answer_stream(FILE *file, int32_t rate)
{
    static ecg_stream stream;
    int32_t sample[MODEL_LEADS];
    int16_t demographics[5], logits[MODEL_CLASSES];
    int code = ecg_start(&stream, rate);
    model_demographics(-1, 0, demographics);
    while (code >= 0) {
        const int more = fread(sample, sizeof(int32_t), MODEL_LEADS, file) == MODEL_LEADS;
        code = more ? ecg_push(&stream, sample) : ecg_finish(&stream);
        if (code == ECG_WINDOW) {
            code = ecg_answer(&stream, demographics, logits);
            fwrite(logits, sizeof(int16_t), MODEL_CLASSES, stdout);
        } else if (!more) {
            break;
        }
    }
    if (code < 0)
        fprintf(stderr, "error %d\n", code);
    return code < 0;
}

int main(int count, char **arguments)
{
    if (count == 1)
        return check_examples() != 0;
    FILE *file = fopen(arguments[count - 1], "rb");
    if (!file) {
        fprintf(stderr, "%s: cannot be read\n", arguments[count - 1]);
        return 1;
    }
    if (count == 3 && strcmp(arguments[1], "windows") == 0)
        return answer_windows(file);
    if (count == 4 && strcmp(arguments[1], "stream") == 0)
        return answer_stream(file, atoi(arguments[2]));
    fprintf(stderr, "usage: %s [windows FILE | stream RATE FILE]\n", arguments[0]);
    return 1;
}
