// See cublas_v2.h.
#pragma once

#include <cuda_runtime_api.h>
