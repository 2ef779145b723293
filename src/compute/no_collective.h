/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The functions of collective.h where there is nothing to do them with; AQM_NO_COLLECTIVE says why. Included once.
 */
static int missing(void)
{
	return aqm_error_set(AQM_ERUN, "%s", AQM_NO_COLLECTIVE);
}

int aqm_collective_id(unsigned char id[AQM_COLLECTIVE_ID_BYTES])
{
	(void)id;
	return missing();
}

int aqm_collective_open(aqm_collective **out, aqm_device *device)
{
	(void)device;
	*out = NULL;
	return missing();
}

int aqm_collective_join(aqm_collective *collective, int rank, int size, const unsigned char id[AQM_COLLECTIVE_ID_BYTES])
{
	(void)collective, (void)rank, (void)size, (void)id;
	return missing();
}

void aqm_collective_leave(aqm_collective *collective)
{
	(void)collective;
}

void aqm_collective_close(aqm_collective *collective)
{
	(void)collective;
}

int aqm_collective_sum(aqm_collective *collective, float *values, size_t count)
{
	(void)collective, (void)values, (void)count;
	return missing();
}

int aqm_collective_finish(aqm_collective *collective)
{
	(void)collective;
	return missing();
}
