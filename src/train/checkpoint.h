/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Checkpoints of a run: checkpoints/step-N/state, and checkpoints/latest, which names the newest whole one.
 *
 *     "AQMCKPT\n"  u32 version  u32 bytes of the state  u64 floats      (all little-endian)
 *     the state: integers u64, doubles f64, digests 64 bytes each
 *     values, m, v: `floats` float32 each
 *     SHA-256 of all before it, 64 hexadecimal digits
 *
 * A checkpoint is written into a folder of another name, synced, and renamed; then `latest` is replaced; then older
 * ones go.
 */
#ifndef AQM_TRAIN_CHECKPOINT_H
#define AQM_TRAIN_CHECKPOINT_H

#include <stdio.h>

#include "train/optimizer.h"
#include "train/state.h"

/* SHA-256 of the parameters' names, shapes and places: two layouts that agree can exchange their blocks. */
int aqm_params_layout(const struct aqm_params *params, char hex[65]);

/* Write checkpoint state->step of the run and prune all but the newest `keep`. AQM_ERUN: nothing that was there is
 * lost; in particular when a value is not finite, which is never written. */
int aqm_checkpoint_write(const char *run_path, const struct aqm_train_state *state,
                         const struct aqm_optimizer *optimizer, int64_t keep);
/* Read the run's latest checkpoint. *found = false when there is none yet. AQM_EDATA when it is damaged or of
 * another layout; values and moments are then undefined. */
int aqm_checkpoint_read(const char *run_path, struct aqm_train_state *state, struct aqm_optimizer *optimizer,
                        bool *found);
/* The same from a stream of `bytes` bytes; `name` is used in messages. Input is untrusted. */
int aqm_checkpoint_read_stream(FILE *stream, size_t bytes, const char *name, struct aqm_train_state *state,
                               struct aqm_optimizer *optimizer);

#endif
