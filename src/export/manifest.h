/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What an exported policy says about itself.
 */
#ifndef AQM_EXPORT_MANIFEST_H
#define AQM_EXPORT_MANIFEST_H

#include "policy/policy.h"

/* JSON, owned by the caller:
 *   {"format": 1, "program": "aqmtrain ...", "base": {"path", "architecture", "sha256", "layers", "used_layers"
 *    [, "decoder_layers", "used_decoder_layers"]},
 *    "control": "packet", "actions": ["enqueue", "drop", "mark"]
 *       or "update", "levels": {"mean", "scale", "change_scale"[, "edges": [...], "values": [...]]},
 *    "features": [{"name", "unit", "description", "sequence", "mean", "scale"}, ...], "normaliser": "log-standard",
 *    "returns": {"mean", "scale", "target"}, "config": "<YAML>"}
 * NULL with an error message. */
char *aqm_export_manifest(aqm_policy *policy);

#endif
