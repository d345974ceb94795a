#ifndef CHECK_H
#define CHECK_H

#include <stdint.h>

void put(const char *text); /* of host.c or board.c */
void put_line(const char *label, int64_t value);
int check_examples(void); /* how many values differ */

#endif
