/* From a sensor's samples to answers: samples go in one at a time, and every MODEL_WINDOW samples of the network's rate
 * there is a window to answer. Each window is resampled, filtered and z-scored as a record of its own.
 *
 *     static ecg_stream stream;
 *     ecg_start(&stream, 500);
 *     for (;;) {
 *         int code = ecg_push(&stream, sample);
 *         if (code == ECG_WINDOW)
 *             ecg_answer(&stream, demographics, logits);
 *         else if (code < 0)
 *             ...
 *     }
 *
 * The window lies in the network's arena (model_input): nothing else may use the network meanwhile. While ecg_answer
 * computes, samples wait wherever they come from. lrhnet_jax/deploy/int8/prepare.py computes the same in NumPy. */
#ifndef ECG_STREAM_H
#define ECG_STREAM_H

#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Rates to have tables for, beside MODEL_RATE: define those that are not needed as 0, and their tables take no flash. */
@switches@
#define ECG_HISTORY @history@ /* samples that resampling looks back on */
#define ECG_STREAM_BYTES @bytes@ /* a stream, at most */

enum {
    ECG_MORE = 0,   /* go on */
    ECG_WINDOW = 1, /* there is a window to answer */
    ECG_NULL_POINTER = -1,
    ECG_UNKNOWN_RATE = -2,
    ECG_NOT_STARTED = -3,
    ECG_NOT_ANSWERED = -4, /* ask ecg_answer first; the sample was not taken */
    ECG_NO_WINDOW = -5,
    ECG_FINISHED = -6 /* start anew */
};

typedef struct {
    const struct ecg_resampler *resampler;
    int32_t history[ECG_HISTORY][MODEL_LEADS]; /* differences from the first sample; a ring */
    int32_t first_sample[MODEL_LEADS];
    int32_t newest; /* place in the ring */
    int32_t phase;  /* of the next output: its time behind sample n is phase / up */
    int32_t ahead;  /* samples that are there behind sample n */
    int32_t held;   /* and how many of them only repeat the last one */
    int32_t rows;   /* of the window, so far */
    int32_t before; /* rows of zeros in front of them */
    uint8_t started, ready, finished;
} ecg_stream;

/* Starts anew. rate: Hz, of the samples. */
int ecg_start(ecg_stream *stream, int32_t rate);

/* Takes one sample of each lead, of at most 24 bits, in any unit: a microvolt is a good one. */
int ecg_push(ecg_stream *stream, const int32_t sample[MODEL_LEADS]);

/* Ends the stream. ECG_WINDOW: there is a last window to answer; if it is not full, what there is lies in the middle of
 * zeros. Call it again after that answer, until it returns ECG_MORE. */
int ecg_finish(ecg_stream *stream);

/* Prepares the window that there is, and answers it. */
int ecg_answer(ecg_stream *stream, const int16_t demographics[5], int16_t logits[MODEL_CLASSES]);

#ifdef __cplusplus
}
#endif

#endif
