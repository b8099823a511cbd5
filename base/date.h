/*
 * base/date.h - days of the calendar, for what sites write as dates.
 */
#ifndef DRAGOMAN_BASE_DATE_H
#define DRAGOMAN_BASE_DATE_H

#include <stdint.h>

/* Days from 1970-01-01 to a Gregorian date of the year 1 or later; `month` and `day` from 1 on.
 * They are not checked. Years begin in March here, so that a leap day is the last one. */
static inline int64_t days_since_1970(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    int64_t era = year / 400, in_era = year - era * 400;
    int64_t in_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719468;
}

#endif
