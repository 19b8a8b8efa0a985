/* Where an address leads, as commands print it. */
#pragma once
#include <jansson.h>
#include "conf/directory.h"

void targets_print(const struct directory_result *r); /* a line each, on standard output */
json_t *targets_json(const struct directory_result *r); /* a new array */
