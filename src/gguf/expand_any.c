/* SPDX-License-Identifier: BSD-2-Clause */
#define EXPANSION aqm_expand_any
#define LANES 4
#include "gguf/expand.h"
