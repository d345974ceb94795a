#include "ecg_stream.h"

#include <string.h>

typedef char stream_is_no_larger_than_said[sizeof(ecg_stream) <= ECG_STREAM_BYTES ? 1 : -1];

/* Output m is the sum over n of sample[n] * taps[half + m * down - n * up]; taps[half + i] is taps[half - i]. */
struct ecg_resampler {
    int32_t rate, up, down, half;
    const int16_t *taps; /* [half + 1], of 14 fractional bits */
};

@tables@
static const struct ecg_resampler resamplers[] = {
@resamplers@};

static int16_t saturated(int64_t value)
{
    return (int16_t)(value < INT16_MIN ? INT16_MIN : value > INT16_MAX ? INT16_MAX : value);
}

/* ---- resampling ---- */

/* Writes rows of the window for as long as the samples that they need are there. */
static int fill_window(ecg_stream *stream)
{
    const struct ecg_resampler *how = stream->resampler;
    while (stream->rows < MODEL_WINDOW && stream->ahead >= stream->held &&
           (stream->ahead + 1) * how->up > how->half + stream->phase) {
        int16_t *row = model_input() + stream->rows * MODEL_LEADS;
        int64_t sums[MODEL_LEADS] = {0};
        int32_t place = stream->newest;
        for (int32_t offset = stream->ahead; offset > stream->ahead - ECG_HISTORY; offset--) {
            const int32_t i = how->half + stream->phase - offset * how->up;
            if (i >= 0 && i <= 2 * how->half) {
                const int32_t tap = how->taps[i <= how->half ? i : 2 * how->half - i];
                for (int32_t lead = 0; lead < MODEL_LEADS; lead++)
                    sums[lead] += (int64_t)stream->history[place][lead] * tap;
            }
            place = place > 0 ? place - 1 : ECG_HISTORY - 1;
        }
        for (int32_t lead = 0; lead < MODEL_LEADS; lead++)
            row[lead] = saturated((sums[lead] + (1 << 13)) >> 14);
        stream->rows++;
        stream->phase += how->down;
        stream->ahead -= stream->phase / how->up;
        stream->phase %= how->up;
    }
    stream->ready = stream->rows == MODEL_WINDOW;
    return stream->ready ? ECG_WINDOW : ECG_MORE;
}

static int take(ecg_stream *stream, const int32_t difference[MODEL_LEADS])
{
    stream->newest = stream->newest + 1 < ECG_HISTORY ? stream->newest + 1 : 0;
    memcpy(stream->history[stream->newest], difference, sizeof stream->history[0]);
    stream->ahead++;
    return fill_window(stream);
}

/* ---- preparation: of a window's rows, one lead at a time ---- */

static int is_flat(const int16_t *lead, int32_t rows)
{
    for (int32_t i = 1; i < rows; i++)
        if (lead[i * MODEL_LEADS] != lead[0])
            return 0;
    return 1;
}

@filter@static uint64_t square_root(uint64_t value)
{
    uint64_t root = 0;
    for (uint64_t bit = (uint64_t)1 << 62; bit; bit >>= 2) {
        const int larger = value >= root + bit;
        if (larger)
            value -= root + bit;
        root = (root >> 1) + (larger ? bit : 0);
    }
    return root;
}

/* To mean 0, and MODEL_SIGNAL_ONE for a standard deviation. */
static void zscore(int16_t *lead, int32_t rows)
{
    int64_t total = 0, squares = 0;
    for (int32_t i = 0; i < rows; i++) {
        const int32_t value = lead[i * MODEL_LEADS];
        total += value;
        squares += (int64_t)value * value;
    }
    const int64_t deviation = (int64_t)square_root((uint64_t)(rows * squares - total * total)); /* times rows */
    const int64_t scale = deviation ? ((int64_t)MODEL_SIGNAL_ONE << 40) / deviation : 0;
    for (int32_t i = 0; i < rows; i++) {
        int16_t *value = lead + i * MODEL_LEADS;
        *value = saturated((((int64_t)rows * *value - total) * scale + ((int64_t)1 << 39)) >> 40);
    }
}

static void prepare(int16_t *window, int32_t rows)
{
    for (int32_t lead = 0; lead < MODEL_LEADS; lead++) {
        const int flat = is_flat(window + lead, rows);
@call_filter@        zscore(window + lead, rows);
        for (int32_t i = 0; flat && i < rows; i++)
            window[i * MODEL_LEADS + lead] = 0;
    }
}

/* ---- interface ---- */

int ecg_start(ecg_stream *stream, int32_t rate)
{
    if (!stream)
        return ECG_NULL_POINTER;
    memset(stream, 0, sizeof *stream);
    for (size_t i = 0; i < sizeof resamplers / sizeof *resamplers; i++)
        if (resamplers[i].rate == rate)
            stream->resampler = &resamplers[i];
    stream->ahead = -1;
    return stream->resampler ? ECG_MORE : ECG_UNKNOWN_RATE;
}

int ecg_push(ecg_stream *stream, const int32_t sample[MODEL_LEADS])
{
    int32_t difference[MODEL_LEADS];
    if (!stream || !sample)
        return ECG_NULL_POINTER;
    if (!stream->resampler)
        return ECG_NOT_STARTED;
    if (stream->finished)
        return ECG_FINISHED;
    if (stream->ready)
        return ECG_NOT_ANSWERED;
    if (!stream->started)
        memcpy(stream->first_sample, sample, sizeof stream->first_sample);
    stream->started = 1;
    for (int32_t lead = 0; lead < MODEL_LEADS; lead++)
        difference[lead] = (int32_t)((uint32_t)sample[lead] - (uint32_t)stream->first_sample[lead]);
    return take(stream, difference);
}

int ecg_finish(ecg_stream *stream)
{
    if (!stream)
        return ECG_NULL_POINTER;
    if (!stream->resampler)
        return ECG_NOT_STARTED;
    if (stream->ready)
        return ECG_NOT_ANSWERED;
    stream->finished = 1;
    while (!stream->ready && stream->ahead >= stream->held) { /* the last sample stays */
        int32_t last[MODEL_LEADS];
        memcpy(last, stream->history[stream->newest], sizeof last);
        stream->held++;
        take(stream, last);
    }
    if (stream->ready || stream->rows == 0)
        return stream->ready ? ECG_WINDOW : ECG_MORE;
    stream->before = (MODEL_WINDOW - stream->rows) / 2;
    memmove(model_input() + stream->before * MODEL_LEADS, model_input(),
            (size_t)(stream->rows * MODEL_LEADS) * sizeof(int16_t));
    stream->ready = 1;
    return ECG_WINDOW;
}

int ecg_answer(ecg_stream *stream, const int16_t demographics[5], int16_t logits[MODEL_CLASSES])
{
    if (!stream || !demographics || !logits)
        return ECG_NULL_POINTER;
    if (!stream->ready)
        return ECG_NO_WINDOW;
    const size_t begin = (size_t)(stream->before * MODEL_LEADS), count = (size_t)(stream->rows * MODEL_LEADS);
    const size_t all = (size_t)MODEL_WINDOW * MODEL_LEADS;
    int16_t *window = model_input();
    memset(window, 0, begin * sizeof *window);
    memset(window + begin + count, 0, (all - begin - count) * sizeof *window);
    prepare(window + begin, stream->rows);
    const int code = model_run(window, MODEL_WINDOW, demographics, logits);
    stream->rows = stream->before = 0;
    fill_window(stream);
    return code;
}
