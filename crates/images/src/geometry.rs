//! Which part of a picture is kept and how large it becomes: sums, no pixels.
//!
//! Everything is in pixels of the picture as one sees it. Nothing becomes larger than it was unless that is asked for.

use image::metadata::Orientation;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::probe::{MAX_PIXELS, MAX_SIDE};

/// Where in a picture the part lies that is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gravity {
    /// In the middle.
    #[default]
    Center,
    /// At the top.
    North,
    /// At the top on the right.
    NorthEast,
    /// On the right.
    East,
    /// At the bottom on the right.
    SouthEast,
    /// At the bottom.
    South,
    /// At the bottom on the left.
    SouthWest,
    /// On the left.
    West,
    /// At the top on the left.
    NorthWest,
}

impl Gravity {
    /// How much of what is cut off lies to the left of the part, and how much above it.
    const fn shares(self) -> (f64, f64) {
        let across = match self {
            Self::NorthWest | Self::West | Self::SouthWest => 0.0,
            Self::North | Self::Center | Self::South => 0.5,
            Self::NorthEast | Self::East | Self::SouthEast => 1.0,
        };
        let down = match self {
            Self::NorthWest | Self::North | Self::NorthEast => 0.0,
            Self::West | Self::Center | Self::East => 0.5,
            Self::SouthWest | Self::South | Self::SouthEast => 1.0,
        };
        (across, down)
    }
}

/// A part of a picture: at a place, or by gravity and then no larger than the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crop {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Pixels to the left of it; with `y` and without `gravity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x: Option<u32>,
    /// Pixels above it; with `x` and without `gravity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub y: Option<u32>,
    /// Where it lies, if not at a place; in the middle unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gravity: Option<Gravity>,
}

/// What a picture is fitted to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The whole picture within the sides, in its proportion.
    #[default]
    Fit,
    /// Both sides filled in its proportion; what is over is cut off.
    Fill,
    /// Both sides as they are given, whatever becomes of the proportion.
    Exact,
}

/// How large a picture becomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resize {
    /// Pixels across; needed but for [`Mode::Fit`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Pixels down; needed but for [`Mode::Fit`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// How the sides are meant.
    #[serde(default)]
    pub mode: Mode,
    /// Which part [`Mode::Fill`] keeps.
    #[serde(default)]
    pub gravity: Gravity,
    /// Whether a picture that is smaller becomes larger; [`Mode::Exact`] is always what is asked for.
    #[serde(default)]
    pub enlarge: bool,
}

/// What cannot be asked for, or not of this picture.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GeometryError {
    /// A side of zero, or longer than any format takes.
    #[error("a side is from 1 to {MAX_SIDE} pixels")]
    Side,
    /// Too many pixels.
    #[error("an output has at most {MAX_PIXELS} pixels")]
    TooManyPixels,
    /// Half a place, or a place and a gravity.
    #[error("a crop has x and y, or a gravity, or none of them")]
    Place,
    /// A side is missing.
    #[error("resize needs width and height; with the mode `fit` one of them is enough")]
    SideMissing,
    /// The part is not in the picture.
    #[error("a crop of {crop_width}x{crop_height} at {x},{y} does not lie in a picture of {width}x{height}")]
    Outside {
        /// Pixels to the left of the part.
        x: u32,
        /// Pixels above the part.
        y: u32,
        /// The part's pixels across.
        crop_width: u32,
        /// The part's pixels down.
        crop_height: u32,
        /// The picture's pixels across.
        width: u32,
        /// The picture's pixels down.
        height: u32,
    },
}

fn side(pixels: u32) -> Result<u32, GeometryError> {
    if (1..=MAX_SIDE).contains(&pixels) { Ok(pixels) } else { Err(GeometryError::Side) }
}

impl Crop {
    /// Whether it can be asked for of any picture.
    ///
    /// # Errors
    /// Any but [`GeometryError::Outside`].
    pub fn check(&self) -> Result<(), GeometryError> {
        side(self.width)?;
        side(self.height)?;
        match (self.x, self.y, self.gravity) {
            (Some(_), Some(_), None) | (None, None, _) => Ok(()),
            _ => Err(GeometryError::Place),
        }
    }

    fn area(&self, (width, height): (u32, u32)) -> Result<Area, GeometryError> {
        self.check()?;
        let (Some(x), Some(y)) = (self.x, self.y) else {
            let kept = (f64::from(self.width.min(width)), f64::from(self.height.min(height)));
            return Ok(Area::whole((width, height)).part(kept, self.gravity.unwrap_or_default(), true));
        };
        let inside = |at: u32, length: u32, side: u32| at.checked_add(length).is_some_and(|end| end <= side);
        if !inside(x, self.width, width) || !inside(y, self.height, height) {
            let (crop_width, crop_height) = (self.width, self.height);
            return Err(GeometryError::Outside { x, y, crop_width, crop_height, width, height });
        }
        Ok(Area { x: x.into(), y: y.into(), width: self.width.into(), height: self.height.into() })
    }
}

impl Resize {
    /// At most so many pixels across and down.
    pub fn within(longest: u32) -> Self {
        Self { width: Some(longest), height: Some(longest), ..Self::default() }
    }

    /// Whether it can be asked for of any picture.
    ///
    /// # Errors
    /// Any but [`GeometryError::Outside`].
    pub fn check(&self) -> Result<(), GeometryError> {
        let width = self.width.map(side).transpose()?;
        let height = self.height.map(side).transpose()?;
        match (self.mode, width, height) {
            (_, Some(width), Some(height)) => within_pixels((width, height)).map(|_| ()),
            (Mode::Fit, Some(_), None) | (Mode::Fit, None, Some(_)) => Ok(()),
            _ => Err(GeometryError::SideMissing),
        }
    }

    fn apply(&self, area: Area) -> Result<Plan, GeometryError> {
        self.check()?;
        // Those that are missing bound nothing.
        let wanted = |side: Option<u32>| side.map_or(f64::INFINITY, f64::from);
        let (width, height) = (wanted(self.width), wanted(self.height));
        let (across, down) = (width / area.width, height / area.height);
        let most = if self.enlarge { f64::INFINITY } else { 1.0 };
        let (area, scale) = match self.mode {
            Mode::Exact => return area.scaled(across, down),
            Mode::Fit => (area, across.min(down).min(most)),
            Mode::Fill => {
                let scale = across.max(down);
                (area.part((width / scale, height / scale), self.gravity, false), scale.min(most))
            }
        };
        area.scaled(scale, scale)
    }
}

fn within_pixels(size: (u32, u32)) -> Result<(u32, u32), GeometryError> {
    if u64::from(size.0) * u64::from(size.1) > MAX_PIXELS {
        return Err(GeometryError::TooManyPixels);
    }
    Ok((side(size.0)?, side(size.1)?))
}

/// A part of a picture, in pixels and parts of pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Area {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

/// What is made of a picture: a part of it and the size this gets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Plan {
    pub(crate) area: Area,
    pub(crate) size: (u32, u32),
}

impl Plan {
    /// For a picture of this size, as one sees it.
    pub(crate) fn new(
        size: (u32, u32),
        crop: Option<&Crop>,
        resize: Option<&Resize>,
    ) -> Result<Self, GeometryError> {
        let area = crop.map_or_else(|| Ok(Area::whole(size)), |crop| crop.area(size))?;
        resize.map_or_else(|| area.scaled(1.0, 1.0), |resize| resize.apply(area))
    }

    /// The same for the picture as it is stored, which `orientation` turns upright and whose size is `stored`.
    pub(crate) fn stored(self, stored: (u32, u32), orientation: Orientation) -> Self {
        let Area { x, y, width, height } = self.area;
        let (across, down) = (f64::from(stored.0), f64::from(stored.1));
        let (x, y) = match orientation {
            Orientation::NoTransforms => (x, y),
            Orientation::FlipHorizontal => (across - x - width, y),
            Orientation::FlipVertical => (x, down - y - height),
            Orientation::Rotate180 => (across - x - width, down - y - height),
            Orientation::Rotate90 => (y, down - x - width),
            Orientation::Rotate270 => (across - y - height, x),
            Orientation::Rotate90FlipH => (y, x),
            Orientation::Rotate270FlipH => (across - y - height, down - x - width),
        };
        // Rounding in the sums above must not reach over an edge.
        let (x, y) = (x.max(0.0), y.max(0.0));
        if lies_on_its_side(orientation) {
            let area = Area { x, y, width: height.min(across - x), height: width.min(down - y) };
            return Self { area, size: (self.size.1, self.size.0) };
        }
        Self { area: Area { x, y, width: width.min(across - x), height: height.min(down - y) }, ..self }
    }
}

/// Whether `orientation` exchanges the sides.
pub(crate) fn lies_on_its_side(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    )
}

impl Area {
    pub(crate) fn whole((width, height): (u32, u32)) -> Self {
        Self { x: 0.0, y: 0.0, width: width.into(), height: height.into() }
    }

    fn part(self, (width, height): (f64, f64), gravity: Gravity, whole_pixels: bool) -> Self {
        let (across, down) = gravity.shares();
        let (width, height) = (width.min(self.width), height.min(self.height));
        let (left, above) = ((self.width - width) * across, (self.height - height) * down);
        let (left, above) = if whole_pixels { (left.floor(), above.floor()) } else { (left, above) };
        Self { x: self.x + left, y: self.y + above, width, height }
    }

    fn scaled(self, across: f64, down: f64) -> Result<Plan, GeometryError> {
        let size = (pixels(self.width * across)?, pixels(self.height * down)?);
        Ok(Plan { area: self, size: within_pixels(size)? })
    }
}

/// The nearest number of whole pixels, at least one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked against the range just before"
)]
fn pixels(length: f64) -> Result<u32, GeometryError> {
    let length = length.round().max(1.0);
    if length > f64::from(MAX_SIDE) { Err(GeometryError::Side) } else { Ok(length as u32) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resize(mode: Mode, width: u32, height: u32) -> Resize {
        Resize { width: Some(width), height: Some(height), mode, ..Resize::default() }
    }

    #[track_caller]
    fn check(size: (u32, u32), resize: Resize, area: (f64, f64, f64, f64), becomes: (u32, u32)) {
        let plan = Plan::new(size, None, Some(&resize)).unwrap();
        let Area { x, y, width, height } = plan.area;
        assert_eq!(((x, y, width, height), plan.size), (area, becomes));
    }

    #[test]
    fn fit_keeps_the_whole_picture_and_its_proportion() {
        check((2000, 1000), resize(Mode::Fit, 500, 500), (0.0, 0.0, 2000.0, 1000.0), (500, 250));
        check((1000, 3000), resize(Mode::Fit, 500, 300), (0.0, 0.0, 1000.0, 3000.0), (100, 300));
        let one_side = Resize { height: Some(100), ..Resize::default() };
        check((2000, 1000), one_side, (0.0, 0.0, 2000.0, 1000.0), (200, 100));
        check((16_000, 1), resize(Mode::Fit, 100, 100), (0.0, 0.0, 16_000.0, 1.0), (100, 1));
    }

    #[test]
    fn fill_cuts_off_what_is_over_where_gravity_does_not_hold() {
        check((2000, 1000), resize(Mode::Fill, 100, 100), (500.0, 0.0, 1000.0, 1000.0), (100, 100));
        let east = Resize { gravity: Gravity::East, ..resize(Mode::Fill, 100, 100) };
        check((2000, 1000), east, (1000.0, 0.0, 1000.0, 1000.0), (100, 100));
        let north = Resize { gravity: Gravity::North, ..resize(Mode::Fill, 200, 100) };
        check((1000, 1000), north, (0.0, 0.0, 1000.0, 500.0), (200, 100));
    }

    #[test]
    fn exact_gives_the_sides_that_were_asked_for() {
        check((2000, 1000), resize(Mode::Exact, 30, 900), (0.0, 0.0, 2000.0, 1000.0), (30, 900));
        check((10, 10), resize(Mode::Exact, 20, 20), (0.0, 0.0, 10.0, 10.0), (20, 20));
    }

    #[test]
    fn nothing_is_blown_up_unless_that_is_asked_for() {
        check((40, 30), resize(Mode::Fit, 400, 400), (0.0, 0.0, 40.0, 30.0), (40, 30));
        check((40, 30), resize(Mode::Fill, 400, 400), (5.0, 0.0, 30.0, 30.0), (30, 30));
        let larger = Resize { enlarge: true, ..resize(Mode::Fit, 400, 400) };
        check((40, 30), larger, (0.0, 0.0, 40.0, 30.0), (400, 300));
    }

    #[test]
    fn crops_lie_where_they_are_put_or_by_gravity() {
        let crop = |width, height| Crop { width, height, x: None, y: None, gravity: None };
        let area = |crop: Crop| Plan::new((100, 50), Some(&crop), None).map(|plan| (plan.area, plan.size));
        let at = Crop { x: Some(90), y: Some(40), ..crop(10, 10) };
        assert_eq!(area(at), Ok((Area { x: 90.0, y: 40.0, width: 10.0, height: 10.0 }, (10, 10))));
        let middle = Area { x: 44.0, y: 0.0, width: 11.0, height: 50.0 };
        assert_eq!(area(crop(11, 60)), Ok((middle, (11, 50))));
        let corner = Crop { gravity: Some(Gravity::SouthEast), ..crop(10, 10) };
        assert_eq!(area(corner), Ok((Area { x: 90.0, y: 40.0, width: 10.0, height: 10.0 }, (10, 10))));
        let over = Crop { x: Some(91), y: Some(40), ..crop(10, 10) };
        let text = "a crop of 10x10 at 91,40 does not lie in a picture of 100x50";
        assert_eq!(area(over).unwrap_err().to_string(), text);
        let far = Crop { x: Some(u32::MAX), y: Some(0), ..crop(10, 10) };
        assert!(matches!(area(far), Err(GeometryError::Outside { .. })));
        assert_eq!(area(Crop { x: Some(1), ..crop(10, 10) }), Err(GeometryError::Place));
    }

    #[test]
    fn bombs_and_half_requests_are_refused() {
        let error = |resize: Resize| Plan::new((100, 50), None, Some(&resize)).unwrap_err();
        assert_eq!(error(resize(Mode::Exact, 16_000, 16_000)), GeometryError::TooManyPixels);
        assert_eq!(error(resize(Mode::Fit, 0, 10)), GeometryError::Side);
        assert_eq!(error(resize(Mode::Fit, 20_000, 10)), GeometryError::Side);
        assert_eq!(error(Resize::default()), GeometryError::SideMissing);
        let half = Resize { width: Some(10), mode: Mode::Fill, ..Resize::default() };
        assert_eq!(error(half), GeometryError::SideMissing);
        // One side, and the other follows from a picture that is nearly a line.
        let line = Resize { height: Some(10_000), enlarge: true, ..Resize::default() };
        assert_eq!(error(line), GeometryError::Side);
    }
}
