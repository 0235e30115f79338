//! Rows of a Parquet file, as the Hugging Face hub keeps data sets.

use super::error::DatasetError;
use crate::files;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use serde_json::{Map, Value};
use std::path::Path;

/// The fields of every row.
pub(super) fn rows(path: &Path) -> Result<Vec<Map<String, Value>>, DatasetError> {
    let damaged = |error: parquet::errors::ParquetError| DatasetError::Damaged {
        path: path.to_owned(),
        message: format!(
            "not a Parquet file that can be read: {error}; files packed by Snappy or not at all can"
        ),
    };
    let file = files::open(path).map_err(|source| DatasetError::Io {
        path: path.to_owned(),
        source,
    })?;
    let reader = SerializedFileReader::new(file).map_err(damaged)?;
    let rows = reader.get_row_iter(None).map_err(damaged)?;
    rows.map(|row| match row.map_err(damaged)?.to_json_value() {
        Value::Object(fields) => Ok(fields),
        _ => unreachable!("a row is a group of fields"),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::shared;
    use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;
    use std::fs::File;
    use std::sync::Arc;

    #[test]
    fn rows_have_names_texts_and_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.parquet");
        let schema =
            parse_message_type("message m { required binary question (UTF8); required int64 answer; }")
                .unwrap();
        let properties = WriterProperties::builder()
            .set_compression(parquet::basic::Compression::SNAPPY)
            .build();
        let file = File::create(&path).unwrap();
        let mut writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties)).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let texts = ["1 + 1?", "2 + 2?"].map(ByteArray::from);
        column
            .typed::<ByteArrayType>()
            .write_batch(&texts, None, None)
            .unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column
            .typed::<Int64Type>()
            .write_batch(&[2, 4], None, None)
            .unwrap();
        column.close().unwrap();
        group.close().unwrap();
        writer.close().unwrap();

        let rows = rows(&path).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[1]["question"], "2 + 2?");
        assert_eq!(rows[1]["answer"], 4);

        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
        let error = super::rows(&path).err().unwrap().to_string();
        assert!(
            error.contains("p.parquet") && error.contains("Parquet"),
            "{error}"
        );
    }

    #[test]
    fn a_file_from_the_hub_is_read_whole() {
        let Some(path) = shared("data/deepscaler/dsr_sub_1209.parquet") else {
            return;
        };
        let rows = rows(&path).unwrap();
        assert_eq!(rows.len(), 1209);
        assert!(
            rows.iter()
                .all(|row| row["reward_model"]["ground_truth"].is_string())
        );
    }
}
