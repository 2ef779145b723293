/* SPDX-License-Identifier: BSD-2-Clause */
/* Compiled with -mavx2 on x86-64 (CMakeLists.txt); elsewhere empty. */
#ifdef __x86_64__
#define EXPANSION aqm_expand_avx2
#define LANES 8
#include "gguf/expand.h"
#else
typedef int aqm_no_avx2_here; /* a file must not be empty */
#endif
