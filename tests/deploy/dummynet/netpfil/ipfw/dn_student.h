/* SPDX-License-Identifier: BSD-2-Clause */
#include "../../../../../deploy/freebsd/dn_student.h"
