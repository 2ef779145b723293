/* SPDX-License-Identifier: BSD-2-Clause
 *
 * student.json: the seal is made to fit whatever the body is, so that bodies are read; what passes decides on a few records.
 */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "distill/student.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decide(const aqm_student *student)
{
	struct aqm_student_state state = {{0}, {0}, 0};
	struct aqm_record record;
	uint64_t features[AQM_STUDENT_INPUTS_MAX];

	for (int round = 0; round < 4; round++) {
		memset(&record, round % 2 ? 0xff : round, sizeof record);
		memset(features, round % 2 ? 0xff : round, sizeof features);
		if (aqm_student_control(student) == AQM_CONTROL_UPDATE)
			aqm_student_update(student, &state, features, (uint32_t)features[0]);
		else
			aqm_student_decide(student, &state, &record, NULL);
	}
}

/* The file with the SHA-256 of its body; NULL where there is no body. */
static char *seal(const uint8_t *data, size_t size)
{
	json_error_t where;
	json_t *file = json_loadb((const char *)data, size, 0, &where), *body = json_object_get(file, "student");
	char *text = NULL, *compact = body ? json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS) : NULL, hex[65];
	aqm_sha256 *hash;

	if (compact && json_is_object(file) && aqm_sha256_new(&hash) == AQM_OK) {
		aqm_sha256_update(hash, compact, strlen(compact));
		aqm_sha256_finish(hash, hex);
		json_object_set_new(file, "sha256", json_string(hex));
		json_object_set_new(file, "aqmtrain", json_string("student 1"));
		text = json_dumps(file, JSON_COMPACT | JSON_SORT_KEYS);
	}
	free(compact);
	json_decref(file);
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	aqm_student *student;
	char *text = seal(data, size);

	if (aqm_student_parse(&student, "input", data, size) == AQM_OK) {
		decide(student);
		aqm_student_free(student);
	}
	if (text && aqm_student_parse(&student, "sealed", text, strlen(text)) == AQM_OK) {
		decide(student);
		aqm_student_free(student);
	}
	free(text);
	return 0;
}
