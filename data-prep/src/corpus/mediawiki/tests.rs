use super::*;
use crate::corpus::TOO_LONG;
use std::io::{self, Cursor};

const SITE: &str = r#"<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" xml:lang="de"><siteinfo><namespaces>
<namespace key="-2" case="first-letter">Medium</namespace><namespace key="0" case="first-letter" />
<namespace key="6" case="first-letter">Datei</namespace><namespace key="14" case="first-letter">Kategorie</namespace>
</namespaces></siteinfo>"#;

fn page(title: &str, namespace: &str, inside: &str, text: &str) -> String {
    format!(
        "<page><title>{title}</title><ns>{namespace}</ns><id>7</id>{inside}<revision><id>8</id><contributor>\
         <username>title</username></contributor><comment>[[no text]]</comment><model>wikitext</model>\
         <text xml:space=\"preserve\">{text}</text></revision></page>\n"
    )
}

fn dump(pages: &[String]) -> String {
    format!("{SITE}{}</mediawiki>", pages.concat())
}

fn read_with(options: ReaderOptions, input: Input) -> Vec<Result<Record, CorpusError>> {
    let reader = Mediawiki { options };
    let finish = |record| match record {
        Record::Document(page) => reader.finish(page),
        skipped => Ok(skipped),
    };
    reader.read(input).map(|record| record.and_then(finish)).collect()
}

fn read(xml: impl Into<Vec<u8>>) -> Vec<Result<Record, CorpusError>> {
    read_with(ReaderOptions::default(), Box::new(Cursor::new(xml.into())))
}

/// The records up to the first error.
fn read_strictly(xml: impl Into<Vec<u8>>) -> Vec<Result<Record, CorpusError>> {
    let options = ReaderOptions { strict: true, ..ReaderOptions::default() };
    let mut records = read_with(options, Box::new(Cursor::new(xml.into())));
    let num_good = records.iter().take_while(|record| record.is_ok()).count();
    records.truncate(num_good + 1);
    records
}

fn document(title: &str, text: &str) -> Record {
    Record::Document(Document { title: Some(title.into()), ..Document::plain(text.into()) })
}

/// The records before the error, and the error's offset and message.
fn broken(xml: impl Into<Vec<u8>>) -> (Vec<Record>, u64, String) {
    let mut records = read_strictly(xml);
    match records.pop() {
        Some(Err(CorpusError::Xml { offset, message })) => {
            (records.into_iter().map(Result::unwrap).collect(), offset, message)
        }
        last => panic!("no XML error but {last:?}"),
    }
}

#[test]
fn articles_are_read_and_the_rest_is_skipped_by_reason() {
    let xml = dump(&[
        page(
            "One",
            "0",
            "",
            "'''One''' is &lt;b&gt;a&lt;/b&gt; [[number|numeral]] &amp;amp; more &#8212; &quot;so&quot;.",
        ),
        page("Old", "0", "<redirect title=\"One\" />", "#WEITERLEITUNG [[One]]"),
        page("Older", "0", "", "#REDIRECT [[One]]"),
        page("Talk:One", "1", "", "Talk."),
        page("Empty", "0", "", "{{only|a template}}"),
        page("Q &amp; A", "0", "", "<![CDATA[Some <br> text & [[more]].]]>"),
        page("Style", "0", "", "x").replace("<model>wikitext", "<model>css"),
        page("Hidden", "0", "", "").replace("<text xml:space=\"preserve\"></text>", "<text deleted=\"deleted\" />"),
    ]);
    let records: Vec<Record> = read(xml).into_iter().map(Result::unwrap).collect();
    assert_eq!(
        records,
        [
            document("One", "One is a numeral & more — \"so\"."),
            Record::Skipped("redirect"),
            Record::Skipped("redirect"),
            Record::Skipped("not an article"),
            Record::Skipped("no text"),
            document("Q & A", "Some text & more."),
            Record::Skipped("not wikitext"),
            Record::Skipped("no text"),
        ]
    );
}

#[test]
fn namespace_names_of_the_wiki_are_used() {
    let text = "[[Datei:a.jpg|mini|Ein [[Bild]]]]Text.\n[[Kategorie:K]] [[Medium:m.ogg|hören]]";
    assert_eq!(read(dump(&[page("A", "0", "", text)])).pop().unwrap().unwrap(), document("A", "Text."));
}

#[test]
fn the_last_revision_counts() {
    let second = "</text></revision><revision><text>new</text></revision></page>";
    let xml = dump(&[page("A", "0", "", "old").replace("</text></revision></page>", second)]);
    assert_eq!(read(xml).pop().unwrap().unwrap(), document("A", "new"));
}

#[test]
fn pages_without_a_root_are_read() {
    let xml = page("A", "0", "", "a") + &page("B", "0", "", "b");
    let records: Vec<Record> = read(xml).into_iter().map(Result::unwrap).collect();
    assert_eq!(records, [document("A", "a"), document("B", "b")]);
}

#[test]
fn a_byte_order_mark_and_a_declaration_are_fine() {
    let xml =
        format!("\u{feff}<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- x -->{}", dump(&[page("A", "0", "", "a")]));
    assert_eq!(read(xml).pop().unwrap().unwrap(), document("A", "a"));
}

#[test]
fn a_broken_page_is_skipped_and_the_next_one_is_read() {
    let page_b = page("B", "0", "", "b");
    for (bad, message) in [
        (page_b.replace("</text>", "</txet>"), "in page `B`: ill-formed document"),
        (page_b.replace("</page>\n", ""), "in page `B`: expected </page>, found <page>"),
        (page_b.replace("<page>", "<p"), "text between the pages"),
        (page_b[page_b.find("<revision>").unwrap()..].to_owned(), "text between the pages"),
        ("stray".to_owned(), "text between the pages"),
        (page("B", "0", "", "&nbsp;"), "in page `B`: unknown entity `&nbsp;`"),
        (page("B", "0", "", "&#0;"), "in page `B`: unknown entity `&#0;`"),
        (page_b.replace("<ns>0</ns>", ""), "in page `B`: no <ns>: an export of version 0.6 or newer is needed"),
        (page("B", "0", "", &"<a>".repeat(100)), "in page `B`: more than 64 elements are open"),
        (page_b.replace("</revision>", ""), "in page `B`: the page ends before its last element is closed"),
    ] {
        let xml = dump(&[page("A", "0", "", "a"), bad.clone(), page("C", "0", "", "c")]);
        let (records, offset, got) = broken(xml.as_str());
        assert!(got.starts_with(message), "{bad}: {got}");
        assert_eq!(records, [document("A", "a")], "{bad}");
        // with the newline before it
        let start = xml.find(&bad).unwrap() as u64 - 1;
        assert!((start..=start + bad.len() as u64 + 7).contains(&offset), "{bad}: {offset}");
        let records: Vec<Record> = read(xml).into_iter().map(Result::unwrap).collect();
        assert_eq!(records, [document("A", "a"), Record::Skipped(BROKEN_PAGE), document("C", "c")], "{bad}");
    }
}

#[test]
fn broken_xml_names_the_byte() {
    let bad = page("B", "0", "", "b").replace("</text>", "</txet>");
    let xml = dump(&[page("A", "0", "", "a"), bad]);
    let expected_offset = xml.find("</txet>").unwrap() as u64;
    assert_eq!(broken(xml).1, expected_offset);
}

#[test]
fn invalid_utf8_is_replaced_and_counted_or_refused() {
    let mut bytes = dump(&[page("A", "0", "", "caf\u{e9}")]).into_bytes();
    let at = bytes.iter().position(|&byte| byte == 0xc3).unwrap();
    bytes[at] = 0xff;
    let Record::Document(page) = read(bytes.clone()).pop().unwrap().unwrap() else { panic!("skipped") };
    assert_eq!((page.text.as_str(), page.replaced), ("caf\u{fffd}\u{fffd}", 2));
    let offset = SITE.len() + "<page>".len();
    let error = read_strictly(bytes).pop().unwrap().unwrap_err();
    assert_eq!(error.to_string(), format!("byte {offset} is not valid UTF-8"));
}

#[test]
fn dumps_one_behind_the_other_are_read() {
    let german = dump(&[page("A", "0", "", "[[Datei:a.jpg|a]]A")]);
    let english = "<?xml version=\"1.0\"?><mediawiki>".to_owned() + &page("B", "0", "", "[[Datei:b]]") + "</mediawiki>";
    let records: Vec<Record> = read_strictly(german + &english).into_iter().map(Result::unwrap).collect();
    assert_eq!(records, [document("A", "A"), document("B", "Datei:b")]);
}

#[test]
fn a_truncated_dump_is_an_error_wherever_it_ends() {
    let xml = dump(&[page("A", "0", "", "a &amp; <b/>"), page("B", "0", "", "b")]);
    let num_bytes = xml.len();
    for end in 1..num_bytes {
        let mut records = read(&xml.as_bytes()[..end]);
        let last = records.pop().unwrap();
        assert!(matches!(last, Err(CorpusError::Xml { .. })), "{end}: {last:?}");
        assert!(records.iter().all(Result::is_ok));
    }
    let (_, offset, message) = broken(xml.strip_suffix("</mediawiki>").unwrap());
    assert_eq!(message, "after page `B`: the file ends before its last element is closed");
    assert_eq!(offset, (num_bytes - "</mediawiki>".len()) as u64);
}

#[test]
fn another_file_is_an_error() {
    for (xml, expected) in [
        ("", "no <mediawiki> element"),
        ("just text", "no <mediawiki> element"),
        ("<rss></rss>", "expected <mediawiki>, found <rss>"),
        ("\u{feff}<!-- x --><html><page></page></html>", "expected <mediawiki>, found <html>"),
    ] {
        match read(xml).as_slice() {
            [Err(CorpusError::Xml { message, .. })] => assert_eq!(message, expected),
            records => panic!("{xml}: {records:?}"),
        }
    }
    assert!(read("<mediawiki></mediawiki>").is_empty());
}

#[test]
fn no_more_than_the_limit_is_held() {
    let limited = |strict, xml: &str| {
        let options = ReaderOptions { strict, max_document_bytes: 1000, ..ReaderOptions::default() };
        read_with(options, Box::new(Cursor::new(xml.as_bytes().to_vec())))
    };
    for long in ["x".repeat(2000), "xxxx&amp;".repeat(400), "<a/>".repeat(900), ">".repeat(5000)] {
        let xml = dump(&[page("A", "0", "", "a"), page("L", "0", "", &long), page("C", "0", "", "c")]);
        let records: Vec<Record> = limited(false, &xml).into_iter().map(Result::unwrap).collect();
        assert_eq!(records, [document("A", "a"), Record::Skipped(TOO_LONG), document("C", "c")]);
        let offset = xml.find("<title>L").unwrap();
        let message = format!("the document at byte {offset} is larger than 1000 bytes");
        assert_eq!(limited(true, &xml)[1].as_ref().unwrap_err().to_string(), message);
    }
    let mut marks = Marks { input: Box::new(Cursor::new(vec![b'x'; 9 << 20])), section: Vec::new(), offset: 0 };
    let end = marks.next(1000).unwrap();
    assert_eq!((end.is_cut, end.mark, marks.section.len(), marks.offset), (true, None, 1000, 9 << 20));
    assert!(marks.section.capacity() < 4 << 20);
}

#[test]
fn a_failing_stream_is_an_io_error() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, "decompression failed"))
        }
    }
    let start = Cursor::new(SITE.as_bytes());
    let records: Vec<_> = read_with(ReaderOptions::default(), Box::new(io::BufReader::new(start.chain(Failing))));
    assert_eq!(records.len(), 1);
    assert!(matches!(&records[0], Err(CorpusError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof));
}
