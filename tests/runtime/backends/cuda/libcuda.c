/* A driver without a GPU: device memory is host memory, work is done when it is enqueued or, while a stream captures,
   noted and done at each launch of the graph. Like the real one it refuses every call on a thread where no context is
   current, and every address it did not hand out. FAKE_CUDA: "no-device", or a number of bytes that the device has. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>

enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_CONTEXT = 201, INVALID_HANDLE = 400 };
typedef struct { void *to; const void *from; size_t size; } copy;
typedef struct { copy work[64]; int count; } graph;
typedef struct { graph *capture; } stream;
typedef struct { double ms; } event;

static size_t capacity = 1 << 20, used;
static int live;
static double now_ms;
static int context_object;
static _Thread_local int depth;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct { void *at; size_t size; } table[256];

#define CURRENT if (!depth) return INVALID_CONTEXT
#define EXPORT __attribute__((visibility("default")))

static int keep(void **out, size_t size, int device) {
  int status = OUT_OF_MEMORY;
  pthread_mutex_lock(&lock);
  if (!device || used + size <= capacity)
    for (int i = 0; i < 256 && status; i++)
      if (!table[i].at) {
        *out = table[i].at = malloc(size);
        table[i].size = device ? size : 0;
        used += table[i].size;
        live++;
        status = OK;
      }
  pthread_mutex_unlock(&lock);
  return status;
}

static int drop(void *at) {
  int status = INVALID_VALUE;
  pthread_mutex_lock(&lock);
  for (int i = 0; i < 256 && status; i++)
    if (at && table[i].at == at) {
      free(at);
      used -= table[i].size;
      table[i].at = NULL;
      live--;
      status = OK;
    }
  pthread_mutex_unlock(&lock);
  return status;
}

static int move(void *to, const void *from, size_t size, stream *s) {
  CURRENT;
  if (!s) return INVALID_HANDLE;
  if (s->capture) s->capture->work[s->capture->count++] = (copy){to, from, size};
  else memcpy(to, from, size);
  return OK;
}

EXPORT int fake_live(void) { return live; }
EXPORT int fake_depth(void) { return depth; }
EXPORT int cuInit(unsigned flags) {
  const char *told = getenv("FAKE_CUDA");
  if (told && !strcmp(told, "no-device")) return NO_DEVICE;
  if (told) capacity = strtoull(told, NULL, 10);
  return OK;
}
EXPORT int cuGetProcAddress_v2(const char *name, void **found, int version, uint64_t flags, int *status) {
  char newest[128];
  void *self = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
  snprintf(newest, sizeof newest, "%s_v2", name);
  if (!(*found = dlsym(self, newest))) *found = dlsym(self, name);
  if (status) *status = !*found;
  return *found ? OK : 500; /* CUDA_ERROR_NOT_FOUND */
}
EXPORT int cuDriverGetVersion(int *version) { *version = 12040; return OK; }
EXPORT int cuDeviceGetCount(int *count) { *count = 1; return OK; }
EXPORT int cuDeviceGet(int *device, int ordinal) { *device = 0; return ordinal ? 101 : OK; }
EXPORT int cuDeviceGetName(char *name, int size, int device) { snprintf(name, size, "Fake GPU"); return OK; }
EXPORT int cuDeviceGetPCIBusId(char *id, int size, int device) { snprintf(id, size, "0000:01:00.0"); return OK; }
EXPORT int cuDeviceGetAttribute(int *value, int attribute, int device) {
  *value = attribute == 75 ? 8 : attribute == 76 ? 6 : 0;
  return OK;
}
EXPORT int cuGetErrorName(int status, const char **name) {
  *name = status == OUT_OF_MEMORY     ? "CUDA_ERROR_OUT_OF_MEMORY"
          : status == NO_DEVICE       ? "CUDA_ERROR_NO_DEVICE"
          : status == INVALID_CONTEXT ? "CUDA_ERROR_INVALID_CONTEXT"
          : status == INVALID_VALUE   ? "CUDA_ERROR_INVALID_VALUE"
                                      : NULL;
  return *name ? OK : INVALID_VALUE;
}
EXPORT int cuGetErrorString(int status, const char **text) { *text = "as named"; return OK; }
EXPORT int cuDevicePrimaryCtxRetain(void **context, int device) { *context = &context_object; return OK; }
EXPORT int cuDevicePrimaryCtxRelease_v2(int device) { return OK; }
EXPORT int cuCtxPushCurrent_v2(void *context) { depth++; return context == &context_object ? OK : INVALID_CONTEXT; }
EXPORT int cuCtxPopCurrent_v2(void **context) { CURRENT; depth--; *context = &context_object; return OK; }
EXPORT int cuCtxGetDevice(int *device) { *device = 0; return OK; }
EXPORT int cuMemAlloc_v2(void **address, size_t size) { CURRENT; return keep(address, size, 1); }
EXPORT int cuMemFree_v2(void *address) { CURRENT; return drop(address); }
EXPORT int cuMemHostAlloc(void **address, size_t size, unsigned flags) { CURRENT; return keep(address, size, 0); }
EXPORT int cuMemFreeHost(void *address) { CURRENT; return drop(address); }
EXPORT int cuMemGetInfo_v2(size_t *rest, size_t *all) { CURRENT; *all = capacity; *rest = capacity - used; return OK; }
EXPORT int cuMemcpyHtoDAsync_v2(void *to, const void *from, size_t size, stream *s) { return move(to, from, size, s); }
EXPORT int cuMemcpyDtoHAsync_v2(void *to, const void *from, size_t size, stream *s) { return move(to, from, size, s); }
EXPORT int cuStreamCreate(stream **s, unsigned flags) {
  CURRENT;
  if (flags != 1) return INVALID_VALUE;
  int status = keep((void **)s, sizeof(stream), 0);
  if (!status) (*s)->capture = NULL;
  return status;
}
EXPORT int cuStreamDestroy_v2(stream *s) { CURRENT; return drop(s); }
EXPORT int cuStreamSynchronize(stream *s) { CURRENT; return s->capture ? 900 : OK; }
EXPORT int cuEventCreate(event **e, unsigned flags) { CURRENT; return keep((void **)e, sizeof(event), 0); }
EXPORT int cuEventRecord(event *e, stream *s) { CURRENT; e->ms = now_ms += 1.5; return OK; }
EXPORT int cuEventSynchronize(event *e) { CURRENT; return OK; }
EXPORT int cuEventElapsedTime(float *ms, event *a, event *b) { CURRENT; *ms = b->ms - a->ms; return OK; }
EXPORT int cuEventElapsedTime_v2(float *ms, event *a, event *b) { return cuEventElapsedTime(ms, a, b); }
EXPORT int cuEventDestroy_v2(event *e) { CURRENT; return drop(e); }
EXPORT int cuStreamBeginCapture_v2(stream *s, int mode) {
  CURRENT;
  int status = s && mode == 1 ? keep((void **)&s->capture, sizeof(graph), 0) : INVALID_VALUE;
  if (!status) s->capture->count = 0;
  return status;
}
EXPORT int cuStreamEndCapture(stream *s, graph **g) { CURRENT; *g = s->capture; s->capture = NULL; return OK; }
EXPORT int cuGraphInstantiateWithFlags(graph **executable, graph *g, unsigned long long flags) {
  CURRENT;
  int status = keep((void **)executable, sizeof(graph), 0);
  if (!status) **executable = *g;
  return status;
}
EXPORT int cuGraphDestroy(graph *g) { CURRENT; return drop(g); }
EXPORT int cuGraphExecDestroy(graph *g) { CURRENT; return drop(g); }
EXPORT int cuGraphLaunch(graph *g, stream *s) {
  CURRENT;
  for (int i = 0; i < g->count; i++) memcpy(g->work[i].to, g->work[i].from, g->work[i].size);
  return OK;
}
