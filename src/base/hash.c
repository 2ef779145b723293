/* SPDX-License-Identifier: BSD-2-Clause */
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <unistd.h>

#include "aqmtrain/error.h"
#include "base/file.h"
#include "base/size.h"

struct aqm_sha256 {
	EVP_MD_CTX *context;
};

int aqm_sha256_new(aqm_sha256 **out)
{
	aqm_sha256 *hash = aqm_calloc_array(1, sizeof *hash);

	*out = NULL;
	if (!hash)
		return AQM_ERUN;
	hash->context = EVP_MD_CTX_new();
	if (!hash->context || EVP_DigestInit_ex(hash->context, EVP_sha256(), NULL) != 1) {
		EVP_MD_CTX_free(hash->context);
		free(hash);
		return aqm_error_set(AQM_ERUN, "libcrypto cannot start a SHA-256");
	}
	*out = hash;
	return AQM_OK;
}

/* Update and final of a started digest have no way to fail. */
void aqm_sha256_update(aqm_sha256 *hash, const void *data, size_t bytes)
{
	(void)EVP_DigestUpdate(hash->context, data, bytes);
}

void aqm_sha256_finish(aqm_sha256 *hash, char hex[65])
{
	static const char digits[] = "0123456789abcdef";
	unsigned char digest[32] = {0};

	(void)EVP_DigestFinal_ex(hash->context, digest, NULL);
	EVP_MD_CTX_free(hash->context);
	free(hash);
	for (int i = 0; i < 32; i++) {
		hex[2 * i] = digits[digest[i] >> 4];
		hex[2 * i + 1] = digits[digest[i] & 15];
	}
	hex[64] = '\0';
}

int aqm_sha256_file(const char *path, char hex[65])
{
	enum { CHUNK = 1 << 16 };
	unsigned char chunk[CHUNK];
	aqm_sha256 *hash = NULL;
	ssize_t n = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return aqm_error_errno(AQM_EDATA, "cannot open '%s'", path);
	int code = aqm_sha256_new(&hash);
	if (code == AQM_OK) {
		while ((n = read(fd, chunk, sizeof chunk)) > 0)
			aqm_sha256_update(hash, chunk, (size_t)n);
		if (n < 0)
			code = aqm_error_errno(AQM_EDATA, "cannot read '%s'", path);
		aqm_sha256_finish(hash, hex);
	}
	close(fd);
	return code;
}
