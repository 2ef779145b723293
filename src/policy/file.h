/* SPDX-License-Identifier: BSD-2-Clause
 *
 * policy.h5: everything that a decision needs but the base weights. HDF5 behind a user block of 512 bytes that holds
 *
 *     aqmtrain policy 1\n
 *     sha256 <64 hexadecimal digits: of all bytes behind the user block>\n
 *
 * so that a damaged file is refused before libhdf5 looks at it. Inside:
 *
 *     /config                the run's configuration, YAML
 *     /base                  attributes path, sha256, architecture
 *     /fit                   mean, scale (F V), return_quantiles (101), class_share (3);
 *                            attributes normaliser, return_mean, return_scale, reward_low, reward_width, longest_episode
 *     /parameters/<name>     float32 (rows, cols)
 *     /manifest              bundles only: what the file is, JSON for others to read
 */
#ifndef AQM_POLICY_FILE_H
#define AQM_POLICY_FILE_H

#include <stddef.h>
#include <stdint.h>

enum { AQM_POLICY_USER_BLOCK = 512 };

/* Is this an undamaged policy file? AQM_EDATA with a message that names `name` otherwise. */
int aqm_policy_file_check(const char *name, const uint8_t *data, size_t bytes);

#endif
