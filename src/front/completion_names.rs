//! The peers that Tab can complete. The view gets them from the engine, and the editor asks for
//! them.

use std::sync::{Arc, Mutex, PoisonError};

use crate::mesh::Addressee;

/// The peers that can be named in a command now, for completion.
#[derive(Clone, Default)]
pub(super) struct CompletionNames(Arc<Mutex<Vec<Addressee>>>);

impl CompletionNames {
    /// Every peer whose shown name begins with `start`, in order; with `linked`, only those with a
    /// link.
    pub(super) fn beginning(&self, start: &str, linked: bool) -> Vec<String> {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fit = names.iter().filter(|it| it.up || !linked);
        let fit = fit.map(|it| &it.shown).filter(|it| it.starts_with(start));
        let mut fit: Vec<String> = fit.cloned().collect();
        fit.sort();
        fit
    }

    /// Replaces the whole list.
    pub(super) fn learn(&self, all: Vec<Addressee>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }
}
