/* A stand-in for libcudart of which a stream is a thread that does its work in order: whether
   addresses, functions of the host and results pass through ctypes as they are.

   Signatures, flags and codes are those of cuda_runtime_api.h and driver_types.h (12.9, 13.5). */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

enum { SUCCESS = 0, INVALID_VALUE = 1, NO_DEVICE = 100, INVALID_HANDLE = 400, NOT_READY = 600 };

typedef struct stream stream;
typedef struct event {
    unsigned magic;
    int recorded, reached;
    struct timespec at;
    stream *stream;
} event;
typedef struct op { void (*fn)(void *); void *data; event *event; struct op *next; } op;
struct stream {
    unsigned magic;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    op *first, **last;
    int busy;
};

enum { EVENT = 0xe7e27, STREAM = 0x57ea3 };
static int device = -1, last_error = SUCCESS;

static void *work(void *given) {
    stream *s = given;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (!s->first) pthread_cond_wait(&s->changed, &s->lock);
        op *next = s->first;
        s->first = next->next;
        if (!s->first) s->last = &s->first;
        s->busy = 1;
        pthread_mutex_unlock(&s->lock);
        if (next->fn) next->fn(next->data);
        pthread_mutex_lock(&s->lock);
        if (next->event) {
            clock_gettime(CLOCK_MONOTONIC, &next->event->at);
            next->event->reached = 1;
        }
        free(next);
        s->busy = 0;
        pthread_cond_broadcast(&s->changed);
    }
    return NULL;
}

static int fails(int code) { return last_error = code; }

static int put(stream *s, void (*fn)(void *), void *data, event *e) {
    if (!s || s->magic != STREAM) return fails(INVALID_HANDLE);
    op *made = calloc(1, sizeof *made);
    made->fn = fn, made->data = data, made->event = e;
    pthread_mutex_lock(&s->lock);
    if (e) e->recorded = 1, e->reached = 0;
    *s->last = made, s->last = &made->next;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    return SUCCESS;
}

int cudaSetDevice(int index) {
    if (index != 0) return fails(NO_DEVICE);
    device = index;
    return SUCCESS;
}

int cudaStreamCreateWithFlags(stream **found, unsigned flags) {
    if (device < 0 || flags != 1) return fails(INVALID_VALUE);
    stream *s = *found = calloc(1, sizeof *s);
    s->magic = STREAM, s->last = &s->first;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    pthread_t thread;
    return pthread_create(&thread, NULL, work, s) ? fails(INVALID_VALUE) : SUCCESS;
}

int cudaStreamSynchronize(stream *s) {
    if (!s || s->magic != STREAM) return fails(INVALID_HANDLE);
    pthread_mutex_lock(&s->lock);
    while (s->first || s->busy) pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
    return SUCCESS;
}

int cudaLaunchHostFunc(stream *s, void (*fn)(void *), void *data) { return put(s, fn, data, NULL); }

int cudaEventCreate(event **found) {
    event *e = *found = calloc(1, sizeof *e);
    e->magic = EVENT;
    return SUCCESS;
}

int cudaEventRecord(event *e, stream *s) {
    if (!e || e->magic != EVENT) return fails(INVALID_HANDLE);
    e->stream = s;
    return put(s, NULL, NULL, e);
}

int cudaEventQuery(event *e) {
    if (!e || e->magic != EVENT || !e->stream) return fails(INVALID_HANDLE);
    stream *s = e->stream;
    pthread_mutex_lock(&s->lock);
    int reached = e->reached;
    pthread_mutex_unlock(&s->lock);
    return reached ? SUCCESS : fails(NOT_READY);
}

int cudaEventSynchronize(event *e) {
    if (!e || e->magic != EVENT || !e->stream) return fails(INVALID_HANDLE);
    stream *s = e->stream;
    pthread_mutex_lock(&s->lock);
    while (!e->reached) pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
    return SUCCESS;
}

int cudaEventElapsedTime(float *ms, event *start, event *end) {
    if (!start || !end || start->magic != EVENT || end->magic != EVENT) return fails(INVALID_HANDLE);
    if (!start->recorded || !end->recorded) return fails(INVALID_HANDLE);
    if (!start->reached || !end->reached) return fails(NOT_READY);
    *ms = (end->at.tv_sec - start->at.tv_sec) * 1e3f + (end->at.tv_nsec - start->at.tv_nsec) / 1e6f;
    return SUCCESS;
}

int cudaGetLastError(void) {
    int found = last_error;
    last_error = SUCCESS;
    return found;
}

const char *cudaGetErrorString(int code) {
    return code == NO_DEVICE ? "no CUDA-capable device is detected" : "invalid something";
}
