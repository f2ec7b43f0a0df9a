# Template of the Homebrew formula: a release fills in what stands between @ signs, and publishes the result beside its archives.
class Floodplain < Formula
  desc "Share and find files over your own network, with no central file server"
  homepage "https://github.com/@REPOSITORY@"
  version "@VERSION@"
  license any_of: ["MIT", "Apache-2.0"]

  depends_on :linux

  on_linux do
    on_intel do
      url "https://github.com/@REPOSITORY@/releases/download/v@VERSION@/floodplain-@VERSION@-x86_64-unknown-linux-gnu.tar.gz"
      sha256 "@SHA256_X86_64@"
    end
    on_arm do
      url "https://github.com/@REPOSITORY@/releases/download/v@VERSION@/floodplain-@VERSION@-aarch64-unknown-linux-gnu.tar.gz"
      sha256 "@SHA256_AARCH64@"
    end
  end

  def install
    bin.install "floodplain"
    man1.install Dir["man/*.1"]
    bash_completion.install "completions/floodplain.bash" => "floodplain"
    zsh_completion.install "completions/_floodplain"
    fish_completion.install "completions/floodplain.fish"
    doc.install Dir["docs/*"], "README.md"
    # The service's folder; nobody else makes it.
    (var/"floodplain").mkpath
  end

  service do
    run [opt_bin/"floodplain", "peer", "--headless"]
    keep_alive successful_exit: false
    working_dir var/"floodplain"
    environment_variables FLOODPLAIN_DATA: var/"floodplain/state", FLOODPLAIN_INBOX: var/"floodplain/inbox"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/floodplain --version")
    system bin/"floodplain", "demo", "--check"
  end
end
