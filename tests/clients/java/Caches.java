// Jedis' client-side cache: at one address, and at the nodes of a cluster if SLOTWAY_NODES
// names any. What it keeps, what it drops, and that it holds no old value while others write.

import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.function.BooleanSupplier;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.HostAndPort;
import redis.clients.jedis.Jedis;
import redis.clients.jedis.JedisClientConfig;
import redis.clients.jedis.RedisClient;
import redis.clients.jedis.RedisClusterClient;
import redis.clients.jedis.RedisProtocol;
import redis.clients.jedis.UnifiedJedis;
import redis.clients.jedis.csc.Cache;
import redis.clients.jedis.csc.Cacheable;
import redis.clients.jedis.csc.DefaultCache;
import redis.clients.jedis.csc.DefaultCacheable;
import redis.clients.jedis.params.SetParams;

public final class Caches {
  private static final long PATIENCE_MS = 20_000;
  private static final int WRITES = 300;
  private static final List<String> KEYS =
      IntStream.range(0, 20).mapToObj(number -> "cache:" + number).collect(Collectors.toList());

  private static int passed;
  private static int failed;
  private static Set<HostAndPort> nodes = Set.of();
  private static HostAndPort address;

  /** The client asks for version 7.4 unless its cache says otherwise; what it uses is older. */
  private static final class AnyVersion extends DefaultCache {
    AnyVersion(Cacheable cacheable) {
      super(1000, cacheable);
    }

    @Override
    public boolean compatibilityMode() {
      return true;
    }
  }

  private static void hold(String what, boolean truth) {
    if (truth) {
      passed++;
    } else {
      failed++;
      System.err.println("FAILED  " + what);
    }
  }

  private static UnifiedJedis connect(Cache cache) {
    JedisClientConfig config = DefaultJedisClientConfig.builder().protocol(RedisProtocol.RESP3).build();
    if (nodes.isEmpty()) {
      var builder = RedisClient.builder().hostAndPort(address).clientConfig(config);
      return cache == null ? builder.build() : builder.cache(cache).build();
    }
    var builder = RedisClusterClient.builder().nodes(nodes).clientConfig(config);
    return cache == null ? builder.build() : builder.cache(cache).build();
  }

  private static boolean until(BooleanSupplier isSo) throws InterruptedException {
    for (long end = System.currentTimeMillis() + PATIENCE_MS; System.currentTimeMillis() < end; Thread.sleep(10)) {
      if (isSo.getAsBoolean()) {
        return true;
      }
    }
    return false;
  }

  private static void flush(UnifiedJedis plain) {
    if (nodes.isEmpty()) {
      plain.flushAll();
      return;
    }
    for (HostAndPort node : nodes) {
      try (Jedis jedis = new Jedis(node)) {
        if (jedis.role().get(0).equals("master")) {
          jedis.flushAll();
        }
      }
    }
  }

  private static void keeps(UnifiedJedis cached, Cache cache, UnifiedJedis plain) {
    plain.set("cache:a", "1");
    hold("read", "1".equals(cached.get("cache:a")));
    long before = cache.getStats().getHitCount();
    for (int times = 0; times < 10; times++) {
      hold("kept", "1".equals(cached.get("cache:a")));
    }
    hold("without asking", cache.getStats().getHitCount() - before == 10);
    hold("nothing", cached.get("cache:none") == null);
  }

  private static void drops(UnifiedJedis cached, UnifiedJedis plain) throws InterruptedException {
    KEYS.forEach(key -> plain.set(key, "old"));
    KEYS.forEach(cached::get);
    KEYS.forEach(key -> plain.set(key, "new"));
    hold("every change is seen", until(() -> KEYS.stream().allMatch(key -> "new".equals(cached.get(key)))));
    plain.del(KEYS.get(0));
    hold("a key that is gone", until(() -> cached.get(KEYS.get(0)) == null));
    plain.set(KEYS.get(1), "brief", SetParams.setParams().px(30));
    hold("a key that expires", until(() -> cached.get(KEYS.get(1)) == null));
    cached.set(KEYS.get(3), "own");
    hold("its own change", until(() -> "own".equals(cached.get(KEYS.get(3)))));
    flush(plain);
    hold("FLUSHALL", until(() -> KEYS.stream().allMatch(key -> cached.get(key) == null)));
  }

  /** A writer counts a key up; what the cache shows never goes back, and ends at the last. */
  private static void whileOthersWrite(UnifiedJedis cached, UnifiedJedis plain) throws InterruptedException {
    plain.set("cache:count", "0");
    Thread writer = new Thread(() -> IntStream.range(0, WRITES).forEach(time -> plain.incr("cache:count")));
    writer.start();
    long last = 0;
    boolean isForward = true;
    while (writer.isAlive()) {
      long number = Long.parseLong(cached.get("cache:count"));
      isForward &= number >= last;
      last = number;
    }
    writer.join();
    hold("never back", isForward);
    hold("the last is seen", until(() -> String.valueOf(WRITES).equals(cached.get("cache:count"))));
  }

  public static void main(String[] args) throws InterruptedException {
    String named = System.getenv().getOrDefault("SLOTWAY_NODES", "");
    if (!named.isEmpty()) {
      nodes = Arrays.stream(named.split(" ")).map(HostAndPort::from).collect(Collectors.toSet());
    } else {
      address = new HostAndPort(args[0], Integer.parseInt(args[1]));
    }
    try (UnifiedJedis plain = connect(null)) {
      flush(plain);
      for (int part = 0; part < 3; part++) {
        Cache cache = new AnyVersion(DefaultCacheable.INSTANCE);
        try (UnifiedJedis cached = connect(cache)) {
          switch (part) {
            case 0 -> keeps(cached, cache, plain);
            case 1 -> drops(cached, plain);
            default -> whileOthersWrite(cached, plain);
          }
        } catch (RuntimeException error) {
          hold("ended early: " + error, false);
        }
      }
    }
    String where = nodes.isEmpty() ? "one address" : "cluster";
    System.out.printf("Jedis caches, %s: %d passed, %d failed%n", where, passed, failed);
    System.exit(failed > 0 || passed == 0 ? 1 : 0);
  }
}
