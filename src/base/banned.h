/* libc calls that trust a NUL, a global buffer or the locale. Included by str.h, so every file has it. The system
 * headers that declare them come first, so that a file may include things in any order. */
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#pragma GCC poison strcpy strcat sprintf vsprintf gets strtok strncpy strncat
#pragma GCC poison atoi atol atoll asctime ctime localtime gmtime
