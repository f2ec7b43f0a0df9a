//! What `type:` means: kinds of files, each a fixed list of extensions, because a kind must mean the same on every peer.

/// A kind of file, told by its extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Music and speech.
    Audio,
    /// Films.
    Video,
    /// Pictures.
    Image,
    /// Texts, tables, slides and books.
    Document,
    /// Packed files and disk images.
    Archive,
    /// Source text and its settings.
    Code,
    /// Programs and packages to install.
    Program,
}

impl FileKind {
    /// Every kind with its name in a query.
    pub const NAMES: [(Self, &'static str); 7] = [
        (Self::Audio, "audio"),
        (Self::Video, "video"),
        (Self::Image, "image"),
        (Self::Document, "document"),
        (Self::Archive, "archive"),
        (Self::Code, "code"),
        (Self::Program, "program"),
    ];

    /// The kind of that name; plurals are understood.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.strip_suffix('s').unwrap_or(name);
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
    }

    /// Its extensions, folded. A guess at what people keep.
    pub fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::Audio => &[
                "aac", "aif", "aiff", "alac", "ape", "flac", "m4a", "m4b", "mid", "midi", "mp3", "oga",
                "ogg", "opus", "wav", "wma",
            ],
            Self::Video => &[
                "3gp", "avi", "flv", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "mts", "ogv", "vob",
                "webm", "wmv",
            ],
            Self::Image => &[
                "avif", "bmp", "cr2", "dng", "gif", "heic", "heif", "ico", "jpeg", "jpg", "jxl", "nef",
                "png", "psd", "raw", "svg", "tif", "tiff", "webp", "xcf",
            ],
            Self::Document => &[
                "csv", "djvu", "doc", "docx", "epub", "htm", "html", "key", "md", "mobi", "numbers", "odp",
                "ods", "odt", "pages", "pdf", "ppt", "pptx", "ps", "rst", "rtf", "tex", "tsv", "txt", "xls",
                "xlsx",
            ],
            Self::Archive => &[
                "7z", "bz2", "cab", "dmg", "gz", "img", "iso", "lz4", "rar", "tar", "tbz", "tgz", "txz",
                "xz", "zip", "zst",
            ],
            Self::Code => &[
                "bash", "bat", "c", "cc", "clj", "cpp", "cs", "css", "dart", "ex", "exs", "go", "h", "hpp",
                "hs", "ipynb", "java", "jl", "js", "json", "jsx", "kt", "lua", "m", "ml", "php", "pl",
                "proto", "ps1", "py", "r", "rb", "rs", "scala", "sh", "sql", "swift", "toml", "ts", "tsx",
                "vue", "xml", "yaml", "yml", "zig",
            ],
            Self::Program => {
                &["apk", "appimage", "bin", "deb", "exe", "flatpak", "jar", "msi", "rpm", "snap"]
            }
        }
    }
}
