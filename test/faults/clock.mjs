// A wall clock that a test sets: libfaketime in front of libc, told by a file. Time that only passes (CLOCK_MONOTONIC) stays true.
import {existsSync, readdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';

function library() {
  for (const arch of readdirSync('/usr/lib').filter((name) => /-linux-gnu/.test(name))) {
    const path = join('/usr/lib', arch, 'faketime/libfaketimeMT.so.1');
    if (existsSync(path)) return path;
  }
  return null;
}

export const clockMissing = () => (library() ? null : 'libfaketime is not installed');

export class Clock {
  constructor(directory) {
    this.file = join(directory, 'clock');
    this.jump(0);
  }

  /** So many seconds before or after the true time; relative to that, not to the last jump. */
  jump(seconds) {
    writeFileSync(this.file, `${seconds < 0 ? '' : '+'}${seconds}\n`);
  }

  /** For the program's environment. */
  get env() {
    return {LD_PRELOAD: library(), FAKETIME_TIMESTAMP_FILE: this.file, FAKETIME_NO_CACHE: '1', FAKETIME_DONT_FAKE_MONOTONIC: '1', DONT_FAKE_MONOTONIC: '1',
      ASAN_OPTIONS: 'detect_leaks=1:exitcode=99:verify_asan_link_order=0'};
  }
}
