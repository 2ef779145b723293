/* SPDX-License-Identifier: BSD-2-Clause */
#include "../../../by_delay.h"
