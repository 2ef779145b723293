/* SPDX-License-Identifier: BSD-2-Clause */
#include "compute/collective.h"

#ifndef AQM_HAVE_CUDA
#define AQM_NO_COLLECTIVE "this build has no CUDA"
#include "compute/no_collective.h"
#endif
