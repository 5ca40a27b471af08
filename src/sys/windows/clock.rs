//! Processor time, and how exact timers are.
#![allow(unsafe_code)]

use std::time::Duration;

use windows_sys::Win32::Foundation::FILETIME;
use windows_sys::Win32::Media::timeBeginPeriod;
use windows_sys::Win32::System::Threading::{GetCurrentThread, GetThreadTimes};

/// What a FILETIME counts.
const UNIT: Duration = Duration::from_nanos(100);

/// How much of a processor's time this thread has used. The system counts it in steps of 16 ms.
pub fn thread_time() -> Duration {
    let mut times = [FILETIME::default(); 4];
    let [created, exited, kernel, user] = &mut times;
    // SAFETY: the handle is this thread's own, and the system fills the four times.
    let known = unsafe { GetThreadTimes(GetCurrentThread(), created, exited, kernel, user) } != 0;
    let count =
        |time: &FILETIME| u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime);
    let units = count(&times[2]).saturating_add(count(&times[3]));
    if known {
        UNIT.saturating_mul(u32::try_from(units / 1000).unwrap_or(u32::MAX))
            .saturating_mul(1000)
    } else {
        Duration::ZERO
    }
}

/// Has timers of this process end within a millisecond of their moment, instead of 16.
pub fn make_timers_exact() {
    // SAFETY: the call takes a number. It fails where a millisecond is not to be had.
    unsafe { timeBeginPeriod(1) };
}
