/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The arithmetic limit of this machine: what a layer of few rows cannot be faster than, however it is written.
 */
#ifndef AQM_COMPUTE_CPU_PEAK_H
#define AQM_COMPUTE_CPU_PEAK_H

enum aqm_cpu_arithmetic { AQM_CPU_FLOAT32, AQM_CPU_BFLOAT16, AQM_CPU_INT8 };

/* Operations a second of all threads together, a product and a sum counted as two, of multiplications that do nothing but
 * follow each other in the widest registers. *what: what is multiplied; bfloat16 and int8 are float32 where the processor
 * has no instructions for them, as in the layers. Takes some hundredths of a second. */
double aqm_cpu_peak(enum aqm_cpu_arithmetic arithmetic, const char **what);

#endif
