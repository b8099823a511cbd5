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

struct calendar_day {
    int year, month, day; /* month and day from 1 on */
};

/* The other way, from the year 1 on. */
static inline struct calendar_day date_of_day(int64_t days_since_1970)
{
    int64_t days = days_since_1970 + 719468, era = days / 146097, in_era = days - era * 146097;
    int64_t year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    int64_t in_year = in_era - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * in_year + 2) / 153;
    return (struct calendar_day){.year = (int)(era * 400 + year + (month >= 10)),
                                 .month = (int)(month < 10 ? month + 3 : month - 9),
                                 .day = (int)(in_year - (153 * month + 2) / 5 + 1)};
}

#endif
