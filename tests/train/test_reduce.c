/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The hook of backward passes tells of every trained parameter once; sums of GPUs, where there is one.
 */
#include "check.h"
#include "compute/collective.h"
#include "helper_policy.h"
#include "train/reduce.h"
