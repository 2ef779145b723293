/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a decision of a student takes: its C header compiled as a kernel would, or, where there is no compiler, the library.
 */
#ifndef AQM_CLI_BENCH_STUDENT_H
#define AQM_CLI_BENCH_STUDENT_H

#include "aqmtrain/student.h"
#include "cli/bench.h"

/* aqmtrain bench decide --student FILE */
int aqm_bench_student(struct aqm_bench *bench);
/* Nanoseconds, the median of short batches; NAN where it cannot be measured. */
double aqm_bench_student_quick(const aqm_student *student);

#endif
