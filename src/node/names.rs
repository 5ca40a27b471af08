//! Saves the display name in the background, and deletes it for good.

use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::config::SavedName;
use crate::proto::DisplayName;

/// How often, a millisecond apart, a panic checks whether a name is still being saved.
const LOOKS: usize = 50;

/// The place of the saved name during one session.
pub(super) struct Names {
    place: SavedName,
    /// Held while a name is being saved; true once no name may be saved any more.
    forgotten: Mutex<bool>,
}

impl Names {
    /// For this place.
    pub(super) fn new(place: SavedName) -> Arc<Self> {
        Arc::new(Self {
            place,
            forgotten: Mutex::new(false),
        })
    }

    /// Saves the names that are sent, until the senders are gone; to be called within a runtime. If
    /// names come faster than they are saved, only the newest is saved. Failures go to `notices`.
    pub(super) fn start(
        self: &Arc<Self>,
        notices: mpsc::UnboundedSender<(u8, String)>,
    ) -> (watch::Sender<Option<DisplayName>>, JoinHandle<()>) {
        let (sender, mut names) = watch::channel(None);
        let this = Arc::clone(self);
        let task = tokio::spawn(async move {
            while names.changed().await.is_ok() {
                let Some(name) = names.borrow_and_update().clone() else {
                    continue;
                };
                let this = Arc::clone(&this);
                let saving = tokio::task::spawn_blocking(move || this.save(&name));
                if let Ok(Err(warning)) = saving.await {
                    let _ = notices.send((0, warning));
                }
            }
        });
        (sender, task)
    }

    fn save(&self, name: &DisplayName) -> Result<(), String> {
        match self.forgotten.lock() {
            Ok(forgotten) if !*forgotten => self.place.save(name),
            _ => Ok(()),
        }
    }

    /// Deletes the saved name, and makes sure that no name is saved any more. Returns a line for
    /// each thing that is still there.
    pub(super) fn forget(&self) -> Vec<String> {
        // A disk may be slow: then the process image is replaced before the name is completely
        // saved.
        let mut forgotten = (0..LOOKS).find_map(|_| self.look());
        if let Some(forgotten) = &mut forgotten {
            **forgotten = true;
        }
        let mut left = self.place.delete().err().unwrap_or_default();
        if forgotten.is_none() {
            left.push(
                "cannot be sure that the saved name is deleted: sesame was still saving it".into(),
            );
        }
        left
    }

    fn look(&self) -> Option<MutexGuard<'_, bool>> {
        match self.forgotten.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => {
                thread::sleep(Duration::from_millis(1));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_name_is_saved_and_forgotten_for_good() {
        let base = tempfile::tempdir().unwrap();
        let place = SavedName::locate(Some(base.path()), false);
        let name = |text| DisplayName::from_user(text).unwrap();
        let names = Names::new(place.clone());
        let (notices, _told) = mpsc::unbounded_channel();
        let (sender, saving) = names.start(notices);
        sender.send_replace(Some(name("alice")));
        sender.send_replace(Some(name("bob")));
        drop(sender);
        saving.await.unwrap();
        assert_eq!(place.load(), Ok(Some(name("bob"))));
        assert!(names.forget().is_empty());
        names.save(&name("carol")).unwrap();
        assert_eq!(place.load(), Ok(None));
    }
}
