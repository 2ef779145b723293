/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs a fuzz target over every file of the folders and files in argv, and over one empty input: how a corpus is
 * checked where there is no libFuzzer. Fails when there was no file. */
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned long inputs;

static int replay(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
	(void)walk;
	if (kind != FTW_F)
		return 0;
	/* Exactly as long as the file, so that AddressSanitizer sees a read past its end. */
	size_t size = (size_t)status->st_size;
	uint8_t *data = malloc(size ? size : 1);
	FILE *stream = fopen(path, "rb");
	int failed = !data || !stream || fread(data, 1, size, stream) != size;

	if (!failed) {
		LLVMFuzzerTestOneInput(data, size);
		inputs++;
	} else {
		perror(path);
	}
	if (stream)
		fclose(stream);
	free(data);
	return failed;
}

int main(int argc, char **argv)
{
	static const uint8_t nothing;

	LLVMFuzzerTestOneInput(&nothing, 0);
	for (int i = 1; i < argc; i++)
		if (nftw(argv[i], replay, 16, 0) != 0) {
			fprintf(stderr, "%s: cannot be replayed\n", argv[i]);
			return 1;
		}
	printf("%lu inputs replayed\n", inputs);
	return inputs == 0;
}
