// ATen's headers for CUDA name handles of libraries that the shim never calls: here they are names, so that these libraries'
// headers need not be there. What is called, the CUDA runtime and NCCL, comes from NVIDIA's own headers.
#pragma once

typedef struct cublasContext *cublasHandle_t;
typedef int cublasStatus_t;
