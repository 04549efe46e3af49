//! Where things are in a sealed image. Nothing here is configurable: the image is built around these places.

/// Configurations as the image ships them, with [`crate::prepare::ORIGIN`] in place of the node's address.
pub(crate) const TEMPLATES: &str = "/usr/share/quintet/config";
/// Configurations of this boot; `/etc/quintet` leads here.
pub(crate) const CONFIGURATIONS: &str = "/run/quintet-config";
/// Secrets, given or made, one file each.
pub(crate) const SECRETS: &str = "/var/lib/quintet/secrets";
/// What outlives boots and generations: [`crate::status::Books`].
pub(crate) const BOOKS: &str = "/var/lib/quintet/node/books.json";
/// An update between its download and its installation; `sysupdate.d` reads it there.
pub(crate) const STAGING: &str = "/var/lib/quintet/node/staging";
/// What the API shows.
pub(crate) const STATUS: &str = "/run/quintet-node/status.json";
/// What the API asks root for.
pub(crate) const REQUESTS: &str = "/run/quintet-node/requests";
/// Boot entries.
pub(crate) const ENTRIES: &str = "/efi/EFI/Linux";
/// The key that updates are signed with.
pub(crate) const UPDATE_KEY: &str = "/usr/share/quintet/update.pub";
/// Says which generation runs.
pub(crate) const OS_RELEASE: &str = "/usr/lib/os-release";
