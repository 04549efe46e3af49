//! The inventory module: items, their stock and their images.
//!
//! Owns the tables `inventory_*`, the routes `/items` and the job `image.thumbnails`. Other
//! modules see only `quintet-inventory-api`. It knows no prices and no orders: a reservation
//! carries a reference that means something to whoever made it.

mod images;
mod render;
mod reports;
mod routes;
mod schema;
mod stock;
pub mod thumbnails;

pub use images::{Image, ImageError, Images, Rendition, State, Upload};
pub use render::{Format, Size};
pub use reports::REPORTS;
pub use routes::{InventoryRead, InventoryWrite};
pub use schema::SCHEMA;
pub use stock::{Adjustment, Error, Invalid, Level, Movement, MovementId, NewItem, Record, Stock};

/// The module, ready to be mounted.
pub fn module(stock: Stock, images: Images) -> quintet_module::Module {
    quintet_module::Module { schema: &SCHEMA, routes: routes::router(stock, images), reports: REPORTS }
}
