/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A folder that appears as a whole: it is filled under a temporary name beside its destination, then renamed.
 */
#ifndef AQM_EXPORT_FOLDER_H
#define AQM_EXPORT_FOLDER_H

#include <stddef.h>
#include "aqmtrain/error.h"

struct aqm_atomic_folder {
	char *path;           /* destination, without trailing slashes */
	char *temporary_path; /* write files here */
};

/* Make the temporary folder. The destination must be absent, empty, or an earlier export of this kind: then `names`
 * (NULL-terminated) lists every entry that is in it, and it has the first of them. Anything else is AQM_EUSAGE: it is
 * not ours to replace. */
int aqm_atomic_folder_open(struct aqm_atomic_folder *folder, const char *path, const char *const *names);
/* Put it into place; an earlier export is removed afterwards. */
int aqm_atomic_folder_commit(struct aqm_atomic_folder *folder);
/* Remove what is temporary and release; harmless after a commit or on a zeroed struct. */
void aqm_atomic_folder_abort(struct aqm_atomic_folder *folder);

#endif
