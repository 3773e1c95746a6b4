//! Images of one colour: `plain:red,blue` is a red image and a blue one.

use super::item::{Caption, Item, Record, RecordImage, SourceError};
use super::reader::{Files, Items, Kind, Reader};

/// The format.
pub(super) const FORMAT: Kind = Kind {
    name: "plain",
    scheme: Some("plain:"),
    extensions: &[],
    files: Files::Own,
    open: |place, _| Ok(Box::new(Plain::open(place)?)),
};

/// Colours by name.
const COLOURS: [(&str, [u8; 3]); 2] = [("red", [255, 0, 0]), ("blue", [0, 0, 255])];

struct Plain {
    place: String,
    colours: Vec<(&'static str, [u8; 3])>,
}

impl Plain {
    fn open(place: &str) -> Result<Self, SourceError> {
        let names = place.trim_start_matches("plain:").split(',');
        let colour = |name: &str| COLOURS.into_iter().find(|(known, _)| *known == name);
        let colours: Option<Vec<_>> = names.map(colour).collect();
        Ok(Self {
            place: place.to_owned(),
            colours: colours.ok_or_else(|| SourceError::place(place, "expected red or blue"))?,
        })
    }
}

impl Reader for Plain {
    fn n_units(&self) -> usize {
        1
    }

    fn unit_name(&self, _unit: usize) -> String {
        self.place.clone()
    }

    fn n_records(&self) -> Option<usize> {
        Some(self.colours.len())
    }

    fn unit(&self, _unit: usize) -> Result<Items<'_>, SourceError> {
        Ok(Box::new(self.colours.iter().map(|(name, rgb)| {
            Item::Record(Record {
                id: (*name).to_owned(),
                place: self.place.clone(),
                captions: vec![Caption {
                    id: None,
                    text: format!("a {name} image"),
                }],
                dropped: vec![],
                caption_file: None,
                image: RecordImage::Ready(image::RgbImage::from_pixel(32, 32, image::Rgb(*rgb))),
            })
        })))
    }

    fn identity(&self) -> Result<String, SourceError> {
        Ok(self.place.clone())
    }
}
