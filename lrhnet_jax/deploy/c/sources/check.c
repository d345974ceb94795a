/* Runs the example windows through the network and compares every answer bit for bit. */
#include "check.h"

#include "examples.h"
#include "model.h"

#include <string.h>

static void put_number(int64_t value)
{
    char digits[24], *at = digits + sizeof digits - 1;
    uint64_t rest = value < 0 ? (uint64_t)-value : (uint64_t)value;
    *at = '\0';
    do
        *--at = (char)('0' + rest % 10);
    while (rest /= 10);
    if (value < 0)
        *--at = '-';
    put(at);
}

void put_line(const char *label, int64_t value)
{
    put(label);
    put(": ");
    put_number(value);
    put("\n");
}

int check_examples(void)
{
    int16_t logits[MODEL_CLASSES];
    uint16_t probabilities[MODEL_CLASSES];
    uint8_t decisions[MODEL_CLASSES];
    int wrong = 0;
    for (int example = 0; example < EXAMPLES; example++) {
        memcpy(model_input(), example_signals[example], sizeof example_signals[example]);
        int code = model_run(model_input(), MODEL_WINDOW, example_demographics[example], logits);
        if (code == MODEL_OK)
            code = model_probabilities(logits, probabilities);
        if (code == MODEL_OK)
            code = model_decide(probabilities, decisions);
        wrong += code != MODEL_OK;
        for (int i = 0; i < MODEL_CLASSES; i++)
            wrong += logits[i] != example_logits[example][i] || probabilities[i] != example_probabilities[example][i] ||
                     decisions[i] != example_decisions[example][i];
    }
    /* Calls that must be refused. */
    wrong += model_run(NULL, MODEL_WINDOW, example_demographics[0], logits) != MODEL_NULL_POINTER;
    wrong += model_run(model_input(), MODEL_WINDOW, NULL, logits) != MODEL_NULL_POINTER;
    wrong += model_run(model_input(), MODEL_WINDOW, example_demographics[0], NULL) != MODEL_NULL_POINTER;
    wrong += model_run(model_input(), MODEL_WINDOW - 1, example_demographics[0], logits) != MODEL_WRONG_LENGTH;
    wrong += model_run(model_input(), MODEL_WINDOW + 1, example_demographics[0], logits) != MODEL_WRONG_LENGTH;
    wrong += model_probabilities(NULL, probabilities) != MODEL_NULL_POINTER;
    wrong += model_probabilities(logits, NULL) != MODEL_NULL_POINTER;
    wrong += model_decide(NULL, decisions) != MODEL_NULL_POINTER;
    wrong += model_decide(probabilities, NULL) != MODEL_NULL_POINTER;
    wrong += model_demographics(50, 'f', NULL) != MODEL_NULL_POINTER;
    put_line("examples", EXAMPLES);
    put_line("values that differ", wrong);
    return wrong;
}
