/* SPDX-License-Identifier: BSD-2-Clause */
#define EXPANSION aqm_expand_any
#include "gguf/expand.h"
