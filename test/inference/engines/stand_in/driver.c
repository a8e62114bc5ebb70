/* A stand-in for NVIDIA's driver: "GPU memory" is this process's memory. For tests without a GPU. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int cuInit(unsigned flags) { return 0; }
int cuDeviceGet(int *device, int number) { *device = 0; return number; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "Stand-in", size); return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? 8 : 7;
    return 0;
}
int cuDriverGetVersion(int *version) {
    const char *told = getenv("STAND_IN_DRIVER");
    *version = told ? atoi(told) : 12060;
    return 0;
}
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = (void *)1; return 0; }
int cuCtxSetCurrent(void *context) { return context == (void *)1 ? 0 : 201; }
int cuStreamCreate(void **stream, unsigned flags) { *stream = (void *)2; return 0; }
int cuStreamSynchronize(void *stream) { return stream == (void *)2 ? 0 : 400; }
int cuMemAlloc_v2(uint64_t *address, size_t size) {
    *address = (uint64_t)malloc(size);
    return *address ? 0 : 2;
}
int cuMemFree_v2(uint64_t address) { free((void *)address); return 0; }
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t size, void *stream) {
    memcpy((void *)to, from, size);
    return 0;
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t size, void *stream) {
    memcpy(to, (const void *)from, size);
    return 0;
}
