// Searches the pages without a server: `search/index.js` is written by scripts/site_hooks.py.
(() => {
  const input = document.getElementById("search-words");
  const count = document.getElementById("search-count");
  const results = document.getElementById("search-results");

  const score = (entry, words) => {
    let sum = 0;
    for (const word of words) {
      const inTitle = entry.title.toLowerCase().includes(word);
      const inText = entry.text.toLowerCase().includes(word);
      if (!inTitle && !inText) return 0;
      sum += inTitle ? 10 : 1;
    }
    return sum;
  };

  const show = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = words.length
      ? siteIndex.map((entry) => [score(entry, words), entry]).filter(([s]) => s > 0)
      : [];
    found.sort((a, b) => b[0] - a[0]);
    results.replaceChildren(
      ...found.slice(0, 50).map(([, entry]) => {
        const link = document.createElement("a");
        link.href = entry.location;
        link.textContent = entry.page === entry.title ? entry.title : `${entry.page}: ${entry.title}`;
        const at = Math.max(0, entry.text.toLowerCase().indexOf(words[0]) - 60);
        const excerpt = document.createElement("p");
        excerpt.textContent = entry.text.slice(at, at + 160);
        const item = document.createElement("li");
        item.append(link, excerpt);
        return item;
      }),
    );
    count.textContent = words.length ? `${found.length} sections` : "";
  };

  input.value = new URLSearchParams(location.search).get("q") || "";
  input.addEventListener("input", show);
  show();
})();
