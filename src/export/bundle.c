/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A bundle: policy.h5 with a manifest (JSON, dataset /manifest) for those who do not know the program.
 * aqm_policy_load reads it as any policy.
 */
#include <stdlib.h>

#include "aqmtrain/export.h"
#include "base/file.h"
#include "export/manifest.h"

int aqm_export_bundle(aqm_policy *policy, const char *path)
{
	int code = aqm_path_spare(aqm_gguf_path(aqm_policy_gguf(policy)), path);

	if (code != AQM_OK)
		return code;
	char *manifest = aqm_export_manifest(policy);
	code = manifest ? aqm_policy_save_with(policy, path, manifest) : AQM_ERUN;
	free(manifest);
	return code;
}
