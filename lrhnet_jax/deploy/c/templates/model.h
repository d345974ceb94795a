#ifndef MODEL_H
#define MODEL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MODEL_WINDOW @window@ /* samples of a window */
#define MODEL_LEADS @leads@ /* @lead_names@ */
#define MODEL_RATE @rate@ /* Hz */
#define MODEL_CLASSES @classes@
#define MODEL_ARENA_BYTES @arena@ /* all memory that is not on the stack, the window included */
#define MODEL_STAGES @stages@
#define MODEL_SIGNAL_ONE 1024 /* one standard deviation of a lead */
#define MODEL_LOGIT_ONE 1024
#define MODEL_PROBABILITY_ONE 65536 /* 65535 is the largest probability */

enum { MODEL_OK = 0, MODEL_NULL_POINTER = -1, MODEL_WRONG_LENGTH = -2, MODEL_BAD_AGE = -3 };

/* Where a window may be written, MODEL_WINDOW rows of MODEL_LEADS values, so that it need not be copied. model_run
 * writes over it. */
int16_t *model_input(void);

/* Fills in what is known of a person. age: years, 0 to 120, or -1; sex: 'f', 'm' or 0. */
int model_demographics(int age, char sex, int16_t demographics[5]);

/* Answers a window: signal is model_input() or any other rows, z-scored. One call at a time. */
int model_run(const int16_t *signal, size_t rows, const int16_t demographics[5], int16_t logits[MODEL_CLASSES]);

int model_probabilities(const int16_t logits[MODEL_CLASSES], uint16_t probabilities[MODEL_CLASSES]);

/* 1 for @rule@. For several windows of a record, give the mean of their probabilities. */
int model_decide(const uint16_t probabilities[MODEL_CLASSES], uint8_t decisions[MODEL_CLASSES]);

extern const char *const model_class_names[MODEL_CLASSES];
extern const char *const model_stage_names[MODEL_STAGES];

#ifdef MODEL_PROFILE /* then you provide this: it is called before each stage, and with MODEL_STAGES in the end */
void model_profile(int stage);
#endif

#ifdef __cplusplus
}
#endif

#endif
