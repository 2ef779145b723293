/* SPDX-License-Identifier: BSD-2-Clause */
#include "model/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/internal.h"

const struct aqm_tensor_name *aqm_tensor_names(const char *architecture, size_t *count)
{
	const struct aqm_architecture *found = aqm_architecture_find(architecture);

	*count = found ? found->name_count : 0;
	return found ? found->names : NULL;
}

const struct aqm_tensor_name *aqm_tensor_name_find(const char *architecture, const char *gguf)
{
	size_t count;
	const struct aqm_tensor_name *names = aqm_tensor_names(architecture, &count);

	for (size_t i = 0; i < count; i++)
		if (names[i].gguf && strcmp(names[i].gguf, gguf) == 0)
			return &names[i];
	return NULL;
}

bool aqm_tensor_name_expand(char *out, size_t size, const char *pattern, int64_t layer)
{
	const char *place = strchr(pattern, '%');
	int n = place ? snprintf(out, size, "%.*s%lld%s", (int)(place - pattern), pattern, (long long)layer, place + 1)
	              : snprintf(out, size, "%s", pattern);

	return n >= 0 && (size_t)n < size;
}

bool aqm_tensor_name_match(const char *pattern, const char *name, int64_t *layer)
{
	enum { DIGITS = 9 }; /* no number of them overflows */
	const char *place = strchr(pattern, '%');
	size_t before = place ? (size_t)(place - pattern) : 0;

	*layer = -1;
	if (!place)
		return strcmp(pattern, name) == 0;
	if (strncmp(pattern, name, before) != 0)
		return false;
	const char *number = name + before;
	size_t digits = strspn(number, "0123456789");

	/* One number has one name: no leading zeros. */
	if (digits == 0 || digits > DIGITS || (*number == '0' && digits > 1) || strcmp(number + digits, place + 1) != 0)
		return false;
	*layer = strtoll(number, NULL, 10);
	return true;
}

/* A gated model has a gate beside this "up". */
static bool is_gated(const aqm_gguf *model, const char *up)
{
	const char *place = strstr(up, "ffn_up");
	char gate[96];
	int n = place ? snprintf(gate, sizeof gate, "%.*sffn_gate%s", (int)(place - up), up, place + strlen("ffn_up")) : -1;

	return n >= 0 && (size_t)n < sizeof gate && aqm_gguf_find(model, gate);
}

const struct aqm_tensor_name *aqm_tensor_name_of(const aqm_gguf *model, const char *gguf, int64_t *layer)
{
	const char *architecture;
	size_t count = 0;
	const struct aqm_tensor_name *found = NULL, *names = NULL;

	if (aqm_gguf_get_string(model, "general.architecture", &architecture) == AQM_OK)
		names = aqm_tensor_names(architecture, &count);
	for (size_t i = 0; i < count; i++) {
		int64_t number;

		if (!names[i].gguf || !aqm_tensor_name_match(names[i].gguf, gguf, &number))
			continue;
		*layer = number;
		if (!found || !is_gated(model, gguf)) /* t5: wi_1 of the gated form, then wi */
			found = &names[i];
	}
	return found;
}
