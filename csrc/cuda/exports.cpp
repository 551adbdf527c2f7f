// The one symbol of libuntie_cuda.so.
#include "library.h"

#ifdef UNTIE_WITH_NCCL
#define NCCL_GROUP untie::nccl_group
#else
#define NCCL_GROUP nullptr
#endif

extern "C" __attribute__((visibility("default"))) const untie::CudaLibrary untie_cuda_library = {untie::capability,
                                                                                                 untie::load_kernels, NCCL_GROUP};
