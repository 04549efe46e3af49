//! Which thumbnails a picture gets.

use quintet_images::{MediaType, Picture, PictureError, Resize};

/// The longest side of a thumbnail, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// For lists.
    Small,
    /// For a page of its own.
    Large,
}

impl Size {
    /// The longest side.
    pub const fn pixels(self) -> u32 {
        match self {
            Self::Small => 256,
            Self::Large => 1024,
        }
    }
}

/// How a thumbnail is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Lossy WebP, for whoever can show it.
    Webp,
    /// Baseline JPEG, for everybody else; transparent parts become white.
    Jpeg,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 2] = [Self::Webp, Self::Jpeg];

    /// The name in URLs and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Webp => "webp",
            Self::Jpeg => "jpeg",
        }
    }

    /// The media type's name.
    pub const fn media_type(self) -> &'static str {
        self.encoding().media_type()
    }

    const fn encoding(self) -> quintet_images::Format {
        match self {
            Self::Webp => quintet_images::Format::Webp,
            Self::Jpeg => quintet_images::Format::Jpeg,
        }
    }
}

/// One thumbnail.
#[derive(Debug)]
pub(crate) struct Thumbnail {
    pub(crate) size: Size,
    pub(crate) format: Format,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) bytes: Vec<u8>,
}

/// Makes every size in every format.
pub(crate) fn thumbnails(bytes: &[u8], media_type: MediaType) -> Result<Vec<Thumbnail>, PictureError> {
    let original = Picture::decode(bytes, media_type)?;
    let mut made = Vec::with_capacity(2 * Format::ALL.len());
    let large = original.render(None, Some(&Resize::within(Size::Large.pixels())))?.into_owned();
    drop(original);
    let small = large.render(None, Some(&Resize::within(Size::Small.pixels())))?;
    for (size, picture) in [(Size::Large, &large), (Size::Small, &*small)] {
        for format in Format::ALL {
            let (width, height) = picture.size();
            let bytes = picture.encode(format.encoding(), None)?;
            made.push(Thumbnail { size, format, width, height, bytes });
        }
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{DynamicImage, ImageFormat};

    use super::*;

    fn written(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn every_input_format_gives_both_sizes_in_both_formats() {
        let picture = DynamicImage::new_rgb8(2000, 1000);
        for (format, media_type) in [
            (ImageFormat::Jpeg, MediaType::Jpeg),
            (ImageFormat::Png, MediaType::Png),
            (ImageFormat::WebP, MediaType::Webp),
        ] {
            let made = thumbnails(&written(&picture, format), media_type).unwrap();
            let sizes: Vec<_> = made.iter().map(|t| (t.format.as_str(), t.width, t.height)).collect();
            assert_eq!(
                sizes,
                [("webp", 1024, 512), ("jpeg", 1024, 512), ("webp", 256, 128), ("jpeg", 256, 128)]
            );
            for thumbnail in made {
                let guessed = image::guess_format(&thumbnail.bytes).unwrap();
                assert_eq!(guessed.to_mime_type(), thumbnail.format.media_type());
            }
        }
    }

    #[test]
    fn a_small_picture_is_not_blown_up() {
        let made =
            thumbnails(&written(&DynamicImage::new_rgb8(40, 30), ImageFormat::Png), MediaType::Png).unwrap();
        assert!(made.iter().all(|thumbnail| (thumbnail.width, thumbnail.height) == (40, 30)));
    }
}
