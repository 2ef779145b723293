/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>

#include "sim/flow.h"

extern const struct aqm_cc_type aqm_cc_reno, aqm_cc_cubic, aqm_cc_dctcp, aqm_cc_prague;

const struct aqm_cc_type *const aqm_cc_types[] = {&aqm_cc_reno, &aqm_cc_cubic, &aqm_cc_dctcp, &aqm_cc_prague, NULL};

const struct aqm_cc_type *aqm_cc_find(const char *name)
{
	for (size_t i = 0; aqm_cc_types[i]; i++)
		if (strcmp(aqm_cc_types[i]->name, name) == 0)
			return aqm_cc_types[i];
	return NULL;
}

const char *aqm_cc_name(size_t index, const char **help)
{
	const struct aqm_cc_type *type = aqm_cc_types[index];

	if (help)
		*help = type ? type->help : NULL;
	return type ? type->name : NULL;
}
