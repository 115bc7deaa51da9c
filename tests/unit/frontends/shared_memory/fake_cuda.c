/* A CUDA driver of two devices without a GPU: its memory is the process's own, and it counts what is open. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct { unsigned char reserved[64]; } Handle;

static char memory[4096];
static int initialized, current, handles, streams;

int cuInit(unsigned flags) { initialized = 1; return flags ? 1 : 0; }
int cuGetErrorString(int status, const char **text) { *text = status == 101 ? "invalid device ordinal" : "as asked"; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return !initialized ? 3 : ordinal < 2 ? 0 : 101; }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = &memory[device]; return 0; }
int cuCtxPushCurrent_v2(void *context) { current++; return context ? 0 : 201; }
int cuCtxPopCurrent_v2(void **context) { current--; *context = 0; return 0; }
int cuIpcOpenMemHandle_v2(uint64_t *pointer, Handle handle, unsigned flags) {
    if (!current || flags != 1 || handle.reserved[0] != 'h' || handle.reserved[63] != '!') return 400;
    handles++;
    *pointer = (uint64_t)(uintptr_t)memory + 96; /* somewhere within what was allocated */
    return 0;
}
int cuIpcCloseMemHandle(uint64_t pointer) { if (!current || pointer != (uint64_t)(uintptr_t)memory + 96) return 1; handles--; return 0; }
int cuMemGetAddressRange_v2(uint64_t *base, size_t *size, uint64_t pointer) {
    (void)pointer; *base = (uint64_t)(uintptr_t)memory; *size = sizeof memory; return current ? 0 : 201;
}
int cuStreamCreate(void **stream, unsigned flags) { streams++; *stream = &streams; return flags == 1 && current ? 0 : 1; }
int cuStreamSynchronize(void *stream) { return stream == &streams && current ? 0 : 1; }
int cuStreamDestroy_v2(void *stream) { if (stream != &streams || !current) return 1; streams--; return 0; }
int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t size) {
    if (!current) return 201;
    memcpy(to, (void *)(uintptr_t)from, size);
    return 0;
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t size, void *stream) {
    if (!current || stream != &streams) return 201;
    memcpy(to, (void *)(uintptr_t)from, size);
    return 0;
}
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t size, void *stream) {
    if (!current || stream != &streams) return 201;
    memcpy((void *)(uintptr_t)to, from, size);
    return 0;
}
int fake_open(void) { return handles * 100 + streams * 10 + current; }
