@about@#include "model.h"

#include "kernels.h"

#ifdef MODEL_PROFILE
#define PROFILE(stage) model_profile(stage)
#else
#define PROFILE(stage) ((void)0)
#endif

#define MODEL_TENSOR_BYTES @tensor_bytes@

/* ---- constants ---- */

@tables@
@layers@
const char *const model_class_names[MODEL_CLASSES] = {
@class_names@,
};

const char *const model_stage_names[MODEL_STAGES] = {
@stage_names@,
};

/* ---- memory ---- */

static struct {
    union {
        int16_t signal[MODEL_TENSOR_BYTES / 2];
        uint8_t bytes[MODEL_TENSOR_BYTES];
    } tensors;
    int32_t scratch[@scratch@];
    int16_t vectors[@vectors@];
} arena;

typedef char arena_is_as_large_as_said[sizeof arena == MODEL_ARENA_BYTES ? 1 : -1];

@places@
/* ---- stages ---- */

@stages@
/* ---- interface ---- */

int16_t *model_input(void) { return arena.tensors.signal + @input@ / 2; }

int model_demographics(int age, char sex, int16_t demographics[5])
{
    const int female = sex == 'f' || sex == 'F', male = sex == 'm' || sex == 'M';
    if (!demographics)
        return MODEL_NULL_POINTER;
    if (age < -1 || age > 120)
        return MODEL_BAD_AGE;
    demographics[0] = (int16_t)(age < 0 ? 0 : (age * 16384 + 50) / 100);
    demographics[1] = age < 0 ? 0 : 16384;
    demographics[2] = female ? 16384 : 0;
    demographics[3] = male ? 16384 : 0;
    demographics[4] = female || male ? 16384 : 0;
    return MODEL_OK;
}

int model_run(const int16_t *signal, size_t rows, const int16_t demographics[5], int16_t logits[MODEL_CLASSES])
{
    if (!signal || !demographics || !logits)
        return MODEL_NULL_POINTER;
    if (rows != MODEL_WINDOW)
        return MODEL_WRONG_LENGTH;
    if (signal != model_input())
        memmove(model_input(), signal, (size_t)MODEL_WINDOW * MODEL_LEADS * sizeof(int16_t));
@person@@calls@
    PROFILE(MODEL_STAGES);
    memcpy(logits, arena.vectors + @output@, MODEL_CLASSES * sizeof(int16_t));
    return MODEL_OK;
}

int model_probabilities(const int16_t logits[MODEL_CLASSES], uint16_t probabilities[MODEL_CLASSES])
{
    if (!logits || !probabilities)
        return MODEL_NULL_POINTER;
@probabilities@    return MODEL_OK;
}

int model_decide(const uint16_t probabilities[MODEL_CLASSES], uint8_t decisions[MODEL_CLASSES])
{
    if (!probabilities || !decisions)
        return MODEL_NULL_POINTER;
@decide@    return MODEL_OK;
}
